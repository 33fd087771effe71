"""What a run says: log lines, TensorBoard scalars, ``metrics.csv``, ``loss.png``, all from the names of its losses."""

import csv
import io
import shutil
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from utils import write_file

TAGS = {"cost": "Cost", "recon": "Reconstr_Cost", "kl": "KL_Cost", "lr": "Learning_Rate", "klw": "KL_Weight"}
SPLIT_TAGS = {"train": "Train", "valid": "Valid", "test": "Eval"}
STYLES = {"train": {"lw": 0.8, "alpha": 0.6}, "valid": {"marker": "."}, "test": {"marker": "."}}


def read_metrics(path: str | Path) -> list[dict[str, str]]:
    """The whole rows of a ``metrics.csv`` by column name: step, split, seconds, learning_rate and the losses."""
    if not Path(path).is_file():
        return []
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
    return [row for row in rows if row.get("step", "").isdigit()]


class RunLog:
    """The log of a run from ``first_step`` on; rows of earlier steps in ``log_root`` stay, later ones are set aside."""

    def __init__(self, log_root: str | Path, first_step: int):
        self.root = Path(log_root)
        self.path = self.root / "metrics.csv"
        self.root.mkdir(parents=True, exist_ok=True)
        rows = read_metrics(self.path)
        self.columns = ["step", "split", "seconds", "learning_rate"]
        self.rows = [row for row in rows if int(row["step"]) < first_step]
        if len(self.rows) < len(rows):  # of steps that are taken again, or of another run
            shutil.copy2(self.path, self.path.with_name(f"metrics.csv.before-step-{first_step}"))
        self.writer = tf.summary.create_file_writer(str(self.root))
        self._write()

    def _write(self):
        """All rows anew, with a column for each name that any of them has."""
        self.columns = list(dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.path, text.getvalue().encode())

    def _add(self, step: int, split: str, losses: dict, seconds: float, learning_rate="", **scalars):
        row = {"step": step, "split": split, "seconds": seconds, "learning_rate": learning_rate, **losses}
        row = {name: str(value) for name, value in row.items()}
        self.rows.append(row)
        if set(row) <= set(self.columns):
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)
        else:
            self._write()
        scalars |= {f"{SPLIT_TAGS[split]}_{TAGS.get(name, name)}": value for name, value in losses.items()}
        with self.writer.as_default(step=step):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)

    def info(self, line: str) -> None:
        """A line to the screen."""
        tqdm.write(line)

    def has(self, split: str, step: int) -> bool:
        """Whether the losses of a split after a step are known."""
        return any(row["split"] == split and row["step"] == str(step) for row in self.rows)

    def train(self, step: int, rates: dict[str, float], losses: dict[str, float], seconds: float) -> None:
        """A training step: rates as ``Trainer.rates`` names them; seconds of the steps since the last such line."""
        words = [f"lr: {rates['lr']:.6f}", *(f"{name}: {rates[name]:.4f}" for name in rates if name != "lr")]
        words += [f"{name}: {value:.4f}" for name, value in losses.items()]
        tqdm.write(f"step: {step}, {', '.join(words)}, train_time_taken: {seconds:.4f}")
        scalars = {TAGS[name]: value for name, value in rates.items()}
        self._add(step, "train", losses, seconds, rates["lr"], Time_Taken_Train=seconds, **scalars)

    def valid(self, step: int, best: float, losses: dict[str, float], seconds: float) -> None:
        """Validation losses after a step, and the best cost so far."""
        words = ", ".join(f"valid_{name}: {value:.4f}" for name, value in losses.items())
        tqdm.write(f"best_valid_cost: {best:0.4f}, {words}, valid_time_taken: {seconds:.4f}")
        self._add(step, "valid", losses, seconds, Valid_Cost_Best=best)

    def test(self, step: int, losses: dict[str, float], seconds: float) -> None:
        """Losses on the test split after a step that validated best."""
        words = ", ".join(f"eval_{name}: {value:.4f}" for name, value in losses.items())
        tqdm.write(f"{words}, eval_time_taken: {seconds:.4f}")
        self._add(step, "test", losses, seconds)

    def plot(self) -> None:
        """Draw ``loss.png``: the reconstruction loss of each split against steps."""
        from matplotlib.figure import Figure  # slow to import, and not needed before the first plot

        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for split, style in STYLES.items():
            points = [(int(row["step"]), float(row["recon"])) for row in self.rows if row["split"] == split]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, **style)
        axes.set(xlabel="step", ylabel="reconstruction loss")
        axes.grid(alpha=0.3)
        if self.rows:
            axes.legend()
        self.writer.flush()
        figure.savefig(self.root / "loss.png", dpi=120)


class NullLogger:
    """In place of the log and the snapshots on all workers but the chief: does nothing, whatever it is told."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None
