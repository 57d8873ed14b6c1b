"""How many of the truly wrong labels stand at the top of a list of suspects.

faceline labels suspects STANDIN --run RUN --out DIR
python benchmarks/suspects.py DIR STANDIN

The wrong labels are those that STANDIN/truth/train.csv names; a rank is a person for gender and age, and a photo or a
pair of swapped photos for the mask. A swap counts as found where both photos stand at one rank, each with the other's
label suggested.
"""

import argparse
from pathlib import Path

import polars as pl

CUTS = (50, 100)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Precision and recall of suspects.csv.")
    arguments.add_argument("list", type=Path, help="the folder that `labels suspects` wrote")
    arguments.add_argument("standin", type=Path, help="the data set with its truth/train.csv")
    asked = arguments.parse_args()
    suspects = pl.read_csv(asked.list / "suspects.csv", infer_schema_length=None)
    truth = pl.read_csv(asked.standin / "truth" / "train.csv", infer_schema_length=None).with_columns(
        person=pl.col("path").str.split("/").list.first(), why=pl.col("noisy").fill_null("").str.split(" ")
    )
    print("| task | wrong | their ranks | suspects | precision at 50 | recall at 100 |")
    print("|---|---|---|---|---|---|")
    for task, unit in (("gender", "people"), ("mask", "swaps"), ("age", "people")):
        wrong = set(truth.filter(pl.col("why").list.contains(task))["person"])
        own = suspects.filter(pl.col("task") == task)
        ranks = sorted(rank for person in wrong if (rank := rank_of(own.filter(pl.col("person") == person), unit)))
        listed = own["rank"].n_unique()
        found = {cut: sum(rank <= cut for rank in ranks) for cut in CUTS}
        shown = min(CUTS[0], listed)
        precision = f"{found[50]} of {shown} ({found[50] / max(shown, 1):.2f})"
        recall = f"{found[100]} of {len(wrong)} ({found[100] / max(len(wrong), 1):.2f})"
        print(f"| {task} | {len(wrong)} {unit} | {', '.join(map(str, ranks))} | {listed} | {precision} | {recall} |")


def rank_of(rows: pl.DataFrame, unit: str) -> int | None:
    """The rank at which a person's wrong label, or swap, stands."""
    for rank, at in rows.group_by("rank", maintain_order=True):
        if unit == "people" or (len(at) == 2 and set(at["given"]) == set(at["suggested"])):
            return int(rank[0])
    return None


if __name__ == "__main__":
    main()
