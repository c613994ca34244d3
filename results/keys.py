"""The words of the event log, each once; MLPerf's word where MLPerf has one (docs/event-log.md)."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1

# A log's first and last line: identity of the rank, and its two clocks at one instant.
LOG_START: Final = "log_start"
LOG_STOP: Final = "log_stop"

# Start-up, by stages (import, process group, data, model): intervals with `name`, `start_ns`, `duration_ns`.
STAGE: Final = "stage"
STAGE_EPOCH: Final = "epoch"
STAGE_FINISH: Final = "finish"
STAGE_CHECKPOINT: Final = "checkpoint"
STAGES_AFTER_STARTUP: Final = (STAGE_EPOCH, STAGE_FINISH, STAGE_CHECKPOINT)
"""All other stages are start-up."""

# MLPerf's interval marks.
RUN_START: Final = "run_start"
RUN_STOP: Final = "run_stop"
EPOCH_START: Final = "epoch_start"
EPOCH_STOP: Final = "epoch_stop"
EVAL_START: Final = "eval_start"
EVAL_STOP: Final = "eval_stop"
EVAL_ACCURACY: Final = "eval_accuracy"
EVAL_DETAIL: Final = "eval_detail"
"""What an evaluation found besides the quality that decides: `name`, `value`, `split`, `epoch_num`."""

# MLPerf's hyperparameters: one line each, under `value`.
SEED: Final = "seed"
GLOBAL_BATCH_SIZE: Final = "global_batch_size"
MAX_SEQUENCE_LENGTH: Final = "max_sequence_length"
TRAIN_SAMPLES: Final = "train_samples"
EVAL_SAMPLES: Final = "eval_samples"
OPT_NAME: Final = "opt_name"
OPT_BASE_LEARNING_RATE: Final = "opt_base_learning_rate"
OPT_WEIGHT_DECAY: Final = "opt_weight_decay"
OPT_GRADIENT_CLIP_NORM: Final = "opt_gradient_clip_norm"

MLPERF_HYPERPARAMETERS: Final = (
    GLOBAL_BATCH_SIZE,
    MAX_SEQUENCE_LENGTH,
    TRAIN_SAMPLES,
    EVAL_SAMPLES,
    OPT_NAME,
    OPT_BASE_LEARNING_RATE,
    OPT_WEIGHT_DECAY,
    OPT_GRADIENT_CLIP_NORM,
)
"""The hyperparameters that are logged under a key of their own; all others are a `hyperparameter`."""

# One line a training step, with the time of each phase.
STEP: Final = "step"

# Ranks that collectives of a step wait for, where that is not all of them in the same step.
GROUP: Final = "group"

# A collective outside of steps, within the stage or evaluation whose line follows.
COLLECTIVE: Final = "collective"

# How far a rank's clock is from rank 0's, measured before, during and after the training.
CLOCK_SYNC: Final = "clock_sync"

# What measuring costs, with --measure-overhead.
BARE_STEP: Final = "bare_step"
OVERHEAD_PAIR: Final = "overhead_pair"
LOG_THREAD: Final = "log_thread"

# Task 0a: one operation at one size, and how long each repetition took on this rank.
RAW_POINT: Final = "raw_point"

# Facts about a rank.
HYPERPARAMETER: Final = "hyperparameter"
OPTIMISER_SWITCH: Final = "optimiser_switch"
PARAMETER_COUNT: Final = "parameter_count"
PARAMETER_DIGEST: Final = "parameter_digest"
BEST_POSSIBLE: Final = "best_possible"
FAILURE: Final = "failure"

# The phases of a step, in the order in which they happen; the log's fields are these words with `_ns`.
PHASES: Final = (
    "input",
    "host_to_device",
    "forward",
    "backward",
    "communication",
    "optimiser",
    "other",
)
