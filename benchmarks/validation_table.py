"""The validation set's results as Markdown, for the README."""

from __future__ import annotations

from typing import Any


def validation_table(results: dict[str, Any]) -> str:
    """Two tables: how close the engines are to Keras, and how well they judge.

    Args:
        results: as ``benchmarks/results/validation.json`` holds them.
    """
    count = results["images"]["images"]
    parity = [
        f"Against the original Keras scores, {count:,} images (FP16 as a GPU computes it, every "
        "result rounded to half; rounded to nearest: on every fourth image):",
        "",
        "| weights | FP32 max abs dP | FP32 flips | FP16 max | FP16 p99 | FP16 mean | FP16 flips"
        " | kept in FP32 | weights rounded to nearest: FP16 max |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    merit = [
        "| weights | accuracy | fakes right | reals right | AUC, Keras | AUC, FP32 | AUC, FP16"
        f" | videos right ({results['images']['videos']}) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results["weights"]:
        name = f"{one['network']}/{one['weights']}"
        full, half, nearest = (one["parity"][k] for k in ("fp32", "fp16", "fp16_nearest"))
        parity.append(
            f"| {name} | {full['max_p']:.1e} | {full['flips']} | {half['max_p']:.1e}"
            f" | {half['p99_p']:.1e} | {half['mean_p']:.1e} | {half['flips']}"
            f" | {', '.join(one['kept_fp32']) or '-'} | {nearest['max_p']:.1e} |"
        )
        figures = one["figures"]
        judged = figures["fp32"]
        aucs = " | ".join(f"{figures[k]['auc']:.5f}" for k in ("original", "fp32", "fp16"))
        merit.append(
            f"| {name} | {judged['accuracy']:.4f} | {judged['fake_right']:.4f}"
            f" | {judged['real_right']:.4f} | {aucs} | {judged['videos_right']:.4f} |"
        )
    verdict = "all bars met" if results["passed"] else _missed(results)
    return "\n".join([*parity, "", *merit, "", f"{verdict[0].upper()}{verdict[1:]}."])


def _missed(results: dict[str, Any]) -> str:
    missed = [
        f"{one['network']}/{one['weights']}: {check['what']} {check['value']:.3g}"
        f" (due {check['due']})"
        for one in results["weights"]
        for check in one["checks"]
        if not check["passed"]
    ]
    return f"missed: {'; '.join(missed)}"
