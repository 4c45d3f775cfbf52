"""A dashboard in Weights & Biases for the runs of a project: one section for every group of metrics.

    python -m examples.wandb_dashboard --entity my-team --project lightning_nas

Makes a new saved view of the project, whose address wandb prints. Needs a login (``wandb login``) and a network. Panels without
a metric stay empty: which run has which metrics, docs/wandb.md says.
"""

import argparse

from wandb_workspaces.reports.v2.interface import (
    LinePlot,
    MediaBrowser,
    PanelTypes,
    ScalarChart,
    WeavePanelSummaryTable,
)
from wandb_workspaces.workspaces import Section, Workspace

STEP, EPOCH = "trainer/global_step", "epoch"


def over_steps(title: str, *metrics: str) -> LinePlot:
    """Curves over optimizer steps."""
    return LinePlot(title=title, x=STEP, y=list(metrics), title_x="optimizer steps")


def over_epochs(title: str, *metrics: str) -> LinePlot:
    """Curves over epochs, a point for every validation."""
    return LinePlot(title=title, x=EPOCH, y=list(metrics), title_x="epochs")


def matching(title: str, pattern: str) -> LinePlot:
    """Curves over optimizer steps of all metrics whose names match; their names depend on the space."""
    return LinePlot(title=title, x=STEP, metric_regex=pattern, title_x="optimizer steps")


def media(title: str, *keys: str) -> MediaBrowser:
    """Figures and histograms, with a slider over the rows in which they were logged."""
    return MediaBrowser(title=title, media_keys=list(keys))


def table(name: str) -> WeavePanelSummaryTable:
    """The last table that every run logged under a name."""
    return WeavePanelSummaryTable(table_name=name)


SECTIONS: dict[str, list[PanelTypes]] = {
    "ranking": [
        over_epochs("Kendall's tau with ground truth", "ranking/kendall_tau"),
        over_epochs("Other correlations", "ranking/spearman", "ranking/pearson"),
        over_epochs("Precision at 5 %", "ranking/p_at_top_5", "ranking/p_at_bottom_5"),
        over_epochs("Best and worst rank at 5 %", "ranking/br_at_5", "ranking/wr_at_5"),
        over_epochs(
            "True accuracy of the paths ranked best, in %",
            *(f"ranking/top{number}_ground_truth" for number in (1, 5, 10)),
        ),
        over_epochs("Bias by complexity", "ranking/complexity_bias"),
        over_epochs("Convergence by complexity", "ranking/complexity_convergence"),
        ScalarChart(title="Bias by density", metric="ranking/density_bias"),
        ScalarChart(title="Density and score", metric="ranking/density_vs_score"),
        ScalarChart(title="Density and ground truth", metric="ranking/density_vs_ground_truth"),
        media("One-shot accuracies of all paths", "ranking/accuracies"),
        table("ranking/scores"),
    ],
    "val": [
        over_epochs("Accuracy of paths, in %", "val/accuracy_min", "val/accuracy", "val/accuracy_max"),
        over_epochs("Loss", "val/loss"),
        over_epochs(
            "Accuracy on the test split, in %", "test/accuracy_min", "test/accuracy", "test/accuracy_max"
        ),
        over_epochs("Loss on the test split", "test/loss"),
        over_epochs("Top-5 accuracy of a network alone, in %", "val/top5", "test/top5"),
        media("Accuracies of all paths on the test split", "test/accuracies"),
        table("test/scores"),
    ],
    "train": [
        over_steps("Loss", "train/loss"),
        over_steps("Factor of the learning rate (CaLR)", "train/lr_factor"),
        over_steps("Spread of gradients", "gradient/variance", "gradient/deviation"),
        over_steps("Spread of momentum", "momentum/variance", "momentum/deviation"),
        over_steps("Similarity of gradients", "gradient/similarity"),
        over_steps("Forgetting", "forgetting/mean"),
        over_steps("Condition number of tangent kernels, decades", "trainability/log10_condition_number"),
        media(
            "Figures",
            *("gradient/variance_over_epochs", "gradient/deviation_over_epochs"),
            *("momentum/variance_over_epochs", "momentum/deviation_over_epochs"),
            *("gradient/similarity_by_distance", "forgetting/changes", "trainability/over_epochs"),
        ),
    ],
    "learn": [
        over_epochs("Accuracy of the most probable path, in %", "val/genotype_accuracy"),
        over_steps("Its true accuracy, in %", "learn/ground_truth"),
        over_steps("Loss of the alphas", "learn/loss"),
        over_steps("Entropy of the probabilities, in nats", "learn/entropy"),
        over_steps("Temperature", "learn/temperature"),
        over_steps("Settled decisions", "learn/settled"),
        media("Figures", "learn/figure_genotype", "learn/figure_alphas"),
    ],
    "sampler": [
        over_steps("Entropy of choices", "sampler/entropy"),
        over_steps("Effective sample size of trained paths", "sampler/effective_sample_size"),
        over_steps("Accepted proposals", "sampler/accept_rate", "sampler/fallback_rate"),
        over_steps("Proposals per path", "sampler/tries"),
        over_steps("Isomorphism classes", "sampler/classes"),
        over_steps("Population", "sampler/population_best", "sampler/population_mean"),
        matching("Path importance: probability of every operation", "^path_importance/.*"),
        over_steps(
            "Data importance: images",
            *("data_importance/effective_sample_size", "data_importance/distinct_images"),
        ),
        media("Visits of all paths", "sampler/path_visits"),
        media("Figures", "sampler/visits", "sampler/operations", "sampler/sampling_frequency"),
    ],
    "density": [
        over_steps("Mean distance of paths", "density/mean_distance"),
        over_steps("Effective paths", "density/effective_sample_size", "density/perplexity"),
        over_steps("Largest by smallest probability", "density/max_over_min"),
        over_steps("Temperature", "density/temperature"),
        over_steps("Accepted proposals", "density/accept_rate", "density/effective_fraction"),
        over_steps("Proposals per path", "density/tries"),
        over_steps("Spread of prototypes", "density/prototype_spread"),
        media("Mean distances of all paths", "density/mean_distances"),
        media(
            "Figures",
            *("density/density_over_epochs", "density/trained_density_over_epochs"),
            *("density/density_vs_accuracy", "density/gradient_vs_functional_density"),
            *("density/gradient_map", "density/prototype_map", "density/prototype_spread_over_steps"),
        ),
    ],
    "time": [
        over_steps("Images per second", "time/images_per_second"),
        over_steps("Waiting for data, in s per step", "time/data_wait"),
        over_steps("Waiting for data, as a share of the time", "time/data_wait_share"),
    ],
}


def dashboard(entity: str, project: str) -> Workspace:
    """The view, not yet saved.

    Args:
        entity: User or team that owns the project.
        project: The project of the runs.
    """
    sections = [Section(name=name, panels=panels, is_open=True) for name, panels in SECTIONS.items()]
    return Workspace(entity=entity, project=project, name="lightning_nas", sections=sections)


def main(args: list[str] | None = None) -> None:
    """Saves the dashboard in W&B."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entity", required=True, help="user or team that owns the project")
    parser.add_argument("--project", default="lightning_nas")
    options = parser.parse_args(args)
    dashboard(options.entity, options.project).save()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
