"""Count how many of the truly wrong labels are at the top of a list of suspects.

faceline labels suspects STANDIN --run RUN --out DIR
python benchmarks/suspects.py DIR STANDIN

STANDIN/truth/train.csv names the wrong labels. A rank is a person for gender and age, and a photo or a pair of swapped
photos for the mask. A swap counts as found if both photos have the same rank, each with the other's label suggested.
"""

import argparse
from pathlib import Path

import polars as pl

CUTS = (50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Precision and recall of suspects.csv.")
    parser.add_argument("list", type=Path, help="the folder that `labels suspects` wrote")
    parser.add_argument("standin", type=Path, help="the data set with its truth/train.csv")
    args = parser.parse_args()
    suspects = pl.read_csv(args.list / "suspects.csv", infer_schema_length=None)
    truth = pl.read_csv(args.standin / "truth" / "train.csv", infer_schema_length=None).with_columns(
        person=pl.col("path").str.split("/").list.first(), why=pl.col("noisy").fill_null("").str.split(" ")
    )
    print("| task | wrong | their ranks | suspects | precision at 50 | recall at 100 |")
    print("|---|---|---|---|---|---|")
    for task, unit in (("gender", "people"), ("mask", "swaps"), ("age", "people")):
        wrong = set(truth.filter(pl.col("why").list.contains(task))["person"])
        of_task = suspects.filter(pl.col("task") == task)
        ranks = sorted(rank for person in wrong if (rank := rank_of(of_task.filter(pl.col("person") == person), unit)))
        listed = of_task["rank"].n_unique()
        found = {cut: sum(rank <= cut for rank in ranks) for cut in CUTS}
        shown = min(CUTS[0], listed)
        precision = f"{found[50]} of {shown} ({found[50] / max(shown, 1):.2f})"
        recall = f"{found[100]} of {len(wrong)} ({found[100] / max(len(wrong), 1):.2f})"
        print(f"| {task} | {len(wrong)} {unit} | {', '.join(map(str, ranks))} | {listed} | {precision} | {recall} |")


def rank_of(rows: pl.DataFrame, unit: str) -> int | None:
    """Return the rank of a person's wrong label, or swap; None if it is not listed."""
    for rank, group in rows.group_by("rank", maintain_order=True):
        if unit == "people" or (len(group) == 2 and set(group["given"]) == set(group["suggested"])):
            return int(rank[0])
    return None


if __name__ == "__main__":
    main()
