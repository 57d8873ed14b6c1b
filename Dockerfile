# faceline serve on a CPU:
#   docker build -t faceline .
#   docker run --rm -p 8000:8000 -e FACELINE_TOKEN -v "$PWD/RUN/bundle:/bundle:ro" faceline
FROM python:3.12-slim

# torch without CUDA, which is a gigabyte of libraries that a CPU does not need.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.10" torchvision

COPY pyproject.toml README.md LICENSE faceline.py /src/
COPY cache /src/cache
COPY detect /src/detect
COPY classify /src/classify
COPY pipeline /src/pipeline
RUN pip install --no-cache-dir "/src[fast,heic,serve]"

RUN useradd --create-home --uid 10001 faceline
USER faceline
WORKDIR /home/faceline
ENV FACELINE_CACHE=/home/faceline/cache PYTHONUNBUFFERED=1

EXPOSE 8000
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Without FACELINE_TOKEN, a token is made and printed at the start.
ENTRYPOINT ["faceline", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/bundle"]
