"""Ground truth, one-shot scores and complexities with hand-checked criteria, for several tests."""

TRUTH = [93.1, 91.0, 94.2, 90.5, 92.3, 88.0, 94.0, 91.0]
SCORES = [0.62, 0.60, 0.66, 0.55, 0.66, 0.50, 0.64, 0.58]
LATER_SCORES = [0.63, 0.58, 0.66, 0.56, 0.65, 0.52, 0.67, 0.59]
COMPLEXITY = [0.56, 0.32, 1.29, 0.10, 0.80, 0.07, 1.05, 0.34]

TRUTH_5 = [90, 91, 92, 93, 94]
SCORES_5 = [0.9, 0.8, 0.85, 0.7, 0.75]
