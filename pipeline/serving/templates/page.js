"use strict";
// Sends photos to /predict and shows the answers. Names and classes come from outside: they are only ever set as text.

const AT_ONCE = 2, SHOWN = 100, TRIES = 6;
const byId = (id) => document.getElementById(id);
const results = byId("results"), state = byId("status"), live = byId("live"), video = byId("video");
const waiting = [];
let sending = 0, answered = 0, token = "", isLocked = false, stream = null, taken = 0;

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function percent(share) { return `${Math.round(share * 100)}%`; }

function bar(share) {
  const fill = element("i");
  fill.style.width = `${share * 100}%`;
  return fill;
}

// The token of a link stays out of the history, and of what the browser sends by itself.
if (location.hash.startsWith("#token=")) {
  token = decodeURIComponent(location.hash.slice(7));
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
} else {
  token = sessionStorage.getItem("token") || "";
}
byId("example").textContent = `curl -F "photo=@a.jpg" -F "photo=@b.jpg" ${location.origin}/predict\n`
  + `curl --data-binary @a.jpg ${location.origin}/predict`;

function add(files) {
  const photos = [...files].filter((file) => file.size > 0);
  for (const file of photos) {
    const card = newCard(file);
    results.prepend(card);
    waiting.push({ file, card });
  }
  while (results.children.length > SHOWN) results.lastChild.remove();
  if (photos.length < files.length) state.textContent = `Left out, since empty: ${files.length - photos.length}.`;
  next();
}

function newCard(file) {
  const card = element("li", "result"), figure = element("figure"), image = element("img"), text = element("div", "text");
  const address = URL.createObjectURL(file);
  image.alt = file.name;
  image.src = address;
  image.onload = () => { URL.revokeObjectURL(address); card.dispatchEvent(new Event("sized")); };
  image.onerror = () => { URL.revokeObjectURL(address); figure.hidden = true; };
  figure.append(image);
  text.append(element("h2", "", file.name), element("p", "note", "Waiting."));
  card.append(figure, text);
  return card;
}

function next() {
  while (sending < AT_ONCE && waiting.length && !isLocked) {
    const photo = waiting.shift();
    sending += 1;
    predict(photo).finally(() => { sending -= 1; count(); next(); });
  }
  count();
}

function count() {
  const open = sending + waiting.length;
  if (answered || open) state.textContent = `${answered} answered${open ? `, ${open} to go` : ""}`
    + `${answered + open > SHOWN ? `; the last ${SHOWN} are shown` : ""}.`;
}

async function predict(photo) {
  const form = new FormData();
  form.append("photo", photo.file, photo.file.name);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    let response, answer;
    try {
      response = await fetch("predict", { method: "POST", body: form, headers });
      answer = await response.json();
    } catch {
      fail(photo.card, "The server can't be reached.");
      return;
    }
    if (response.status === 503 && attempt < TRIES) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      photo.card.querySelector(".note").textContent = `The server is busy; next try in ${seconds} s.`;
      await new Promise((done) => setTimeout(done, seconds * 1000));
      continue;
    }
    if (response.status === 401) {
      waiting.unshift(photo);
      lock();
      return;
    }
    answered += 1;
    if (answer.predictions) show(photo.card, answer.predictions[0]);
    else fail(photo.card, answer.detail);
    return;
  }
}

function fail(card, message) {
  card.classList.add("failed");
  card.querySelector(".note").textContent = message;
}

function show(card, prediction) {
  if (prediction.status === "unreadable") {
    fail(card, `Can't be read: ${prediction.message}`);
    return;
  }
  const text = card.querySelector(".text");
  const others = (prediction.faces || 1) - 1;
  card.querySelector(".note").textContent = prediction.status === "no_face"
    ? "No face was found: this is about the middle of the photo."
    : `Face found with a score of ${prediction.score.toFixed(2)}${others > 0 ? `; other faces in the photo: ${others}` : ""}.`;
  for (const [task, answer] of Object.entries(prediction.tasks)) {
    text.append(element("h3", "", `${task}: ${answer.label}${answer.unsure ? " (unsure)" : ""}`));
    for (const [label, share] of Object.entries(answer.probabilities)) {
      const row = element("div", label === answer.label ? "row answer" : "row"), track = element("div", "track");
      track.append(bar(share));
      row.append(element("span", "", label), track, element("span", "", percent(share)));
      text.append(row);
    }
  }
  const image = card.querySelector("img");
  const draw = () => drawOnPhoto(card.querySelector("figure"), image, prediction);
  if (image.complete && image.naturalWidth) draw();
  else card.addEventListener("sized", draw, { once: true });
}

function drawOnPhoto(figure, image, prediction) {
  const [x1, y1, x2, y2] = prediction.box, face = element("div", "face"), tags = element("ul", "tags");
  const [left, top] = [Math.max(x1, 0), Math.max(y1, 0)];
  Object.assign(face.style, {
    left: `${100 * left / image.naturalWidth}%`, width: `${100 * (Math.min(x2, image.naturalWidth) - left) / image.naturalWidth}%`,
    top: `${100 * top / image.naturalHeight}%`, height: `${100 * (Math.min(y2, image.naturalHeight) - top) / image.naturalHeight}%`,
  });
  for (const [task, answer] of Object.entries(prediction.tasks)) {
    const tag = element("li"), share = answer.probabilities[answer.label];
    tag.append(bar(share), element("span", "", `${task} ${answer.label} ${percent(share)}`));
    tags.append(tag);
  }
  figure.append(face, tags);
}

function lock() {
  isLocked = true;
  byId("access").hidden = false;
  byId("token").focus();
  state.textContent = token ? "That token is not the right one." : "";
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  byId("access").hidden = true;
  isLocked = false;
  next();
});

byId("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  add(event.dataTransfer.files);
});

byId("camera").addEventListener("click", async () => {
  if (!navigator.mediaDevices) {  // browsers lend the camera only to pages of this machine or with https
    state.textContent = "The browser gives the camera only to pages on this machine, or behind https.";
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    state.textContent = `The camera can't be used: ${error.message}.`;
    return;
  }
  video.srcObject = stream;
  live.hidden = false;
});

byId("take").addEventListener("click", () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  if (!canvas.width) return;  // there is no picture yet
  canvas.getContext("2d").drawImage(video, 0, 0);
  taken += 1;
  canvas.toBlob((blob) => add([new File([blob], `camera ${taken}.jpg`, { type: "image/jpeg" })]), "image/jpeg", 0.95);
});

byId("close").addEventListener("click", () => {
  for (const track of stream.getTracks()) track.stop();
  live.hidden = true;
});
