"""The command line: ``lightning-nas VERB -c CONFIG ... --key value``."""

import inspect
import itertools
import logging
import sys
import warnings
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_warn

from lightning_nas import (
    checkpoint,
    commands,
    config,
    data,
    differentiable,
    fewshot,
    files,
    groundtruth,
    retraining,
    samplers,
    search,
    spaces,
    zeroshot,
)
from lightning_nas.callbacks import Ranking
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError, nearest
from lightning_nas.launch import trouble
from lightning_nas.module import SupernetModule
from lightning_nas.parser import Parser
from lightning_nas.samplers import DataSampler, PathSampler, UniformSampler
from lightning_nas.trainer import NASTrainer

# Which classes may be given by name alone, and where they are.
CLASSES = {
    "--space": (spaces, spaces.SearchSpace),
    "--model.space": (spaces, spaces.SearchSpace),
    "--sampler": (samplers, PathSampler),
    "--data_sampler": (samplers, DataSampler),
    "--data": (data, ImageDataModule),
    "--algorithm": (search, search.SearchAlgorithm),
    "--strategy": (differentiable, differentiable.LearningStrategy),
    "--metric": (fewshot, fewshot.SplitMetric),
    "--metric.estimator": (zeroshot, zeroshot.Estimator),
}


class NASCLI(LightningCLI):
    """Adds the samplers and the ranking to the command line, and links the space to the data."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the keys ``sampler``, ``data_sampler`` and ``ranking``."""
        parser.add_lightning_class_args(PathSampler, "sampler", subclass_mode=True, required=False)
        parser.add_lightning_class_args(DataSampler, "data_sampler", subclass_mode=True, required=False)
        parser.add_lightning_class_args(Ranking, "ranking")
        for fact in ("num_classes", "in_channels", "image_size"):
            parser.link_arguments(f"data.{fact}", f"model.{fact}", apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs, and which of their arguments are built from the configuration."""
        few = ("split", "fit_fewshot", "validate_fewshot")
        own = ("groundtruth", "learn", "retrain", "search", *few)
        return LightningCLI.subcommands() | {verb: {"model", "datamodule"} for verb in own}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Resolves ``last`` and opens the checkpoint, before anything is built."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand]
        verb, root = self.config.subcommand, Path(options.trainer.default_root_dir)
        if verb == "retrain":
            return  # continues one network or several, and looks itself
        if options.get("ckpt_path") is not None:
            path = checkpoint.last(root) if options.ckpt_path == "last" else Path(options.ckpt_path)
            checkpoint.read(path)
            options.ckpt_path = str(path)
        elif verb in ("validate", "test", "predict", "search"):
            if (root / "last.ckpt").exists():
                raise NASError(
                    f"ckpt_path is not given: {verb} would replace results of the run in {root} by those of untrained "
                    "weights; --ckpt_path last takes the run's"
                )
            rank_zero_warn("ckpt_path is not given: untrained weights are scored")

    def instantiate_trainer(self, **kwargs: object) -> NASTrainer:
        """The trainer, with a uniform sampler where ``fit`` is given none."""
        options = self.config_init[self.subcommand]
        given = options.trainer.callbacks or []
        callbacks = [options.sampler, *(given if isinstance(given, list) else [given])]
        trains = self.subcommand in ("fit", "fit_fewshot")
        if trains and not any(isinstance(callback, PathSampler) for callback in callbacks):
            options.sampler = UniformSampler()
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except NASError:
            raise
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise NASError(f"trainer: {' '.join(str(error).split())}") from error
        assert isinstance(trainer, NASTrainer)
        return trainer

    def before_groundtruth(self) -> None:
        """Refuses what cannot be measured and to mix the results of two configurations, and keeps this one."""
        root, options = Path(self.trainer.default_root_dir), self.config["groundtruth"]
        groundtruth.require_measurable(self.model.space, options.seeds, options.workers)
        shared = config.shared_config(self._parser("groundtruth"), options, "groundtruth")
        config.require_unchanged(shared, root)
        config.save(shared, root)

    def before_retrain(self) -> None:
        """Refuses to mix the networks of two configurations."""
        root, options = Path(self.trainer.default_root_dir), self.config["retrain"]
        if options.number > 1:
            retraining.require_own_directory(root, options.ckpt_path)
            config.require_unchanged(config.shared_config(self._parser("retrain"), options, "retrain"), root)

    def before_fit_fewshot(self) -> None:
        """Keeps the configuration, also of every leaf, and refuses to mix the results of two."""
        root, options = Path(self.trainer.default_root_dir), self.config["fit_fewshot"]
        shared = config.shared_config(self._parser("fit_fewshot"), options, "fit_fewshot")
        leaves = fewshot.read(Path(options.tree or root), self.model.space)
        folders = [leaves.folder(root, number) for number in range(len(leaves.parts))]
        # A command that was refused before it trained anything may be given again with other settings.
        if any((folder / "last.ckpt").is_file() for folder in (root, *folders)):
            config.require_unchanged(shared, root)
        config.save(shared, root, "fit_fewshot")
        for folder, part in zip(folders, leaves.parts, strict=True):
            own = {key: shared[key] for key in config.KEYS}
            own["trainer"] = shared["trainer"] | {"default_root_dir": str(folder)}
            own["model"] = shared["model"] | {"space": part.describe()}
            config.save(own, folder)


def main(args: ArgsType = None) -> None:
    """Runs the command line.

    Args:
        args: Arguments instead of those of the process.
    """
    _hush()
    given = sys.argv[1:] if args is None else args
    try:
        if not given:
            raise NASError(
                f"a verb is missing: valid are {', '.join(v.replace('_', '-') for v in _verbs())}; lightning-nas VERB --help says more"
            )
        if isinstance(given, list):
            given = [_verb(given[0]), *given[1:]]
            _require_known_classes(given)
            if given[0] in commands.COMMANDS:
                commands.run(given[0], given[1:])
                return
            given = [given[0], *config.without_keys_of_others(given[0], given[1:])]
        _command_line(given)(
            SupernetModule,
            ImageDataModule,
            subclass_mode_data=True,
            trainer_class=NASTrainer,
            save_config_callback=config.SaveConfig,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={
                "description": "Train, rank and measure one-shot supernets. Verbs without a trainer have a help of "
                f"their own: {', '.join(commands.COMMANDS)}.",
            },
            args=given,
        )
    except Exception as error:
        if (refused := _nas_error(error)) is not None:
            full = refused.__cause__ is not None and files.is_full(refused.__cause__)
            raise _end(str(refused), 1 if full else 2) from error
        if (sentence := trouble(error) or files.trouble(error)) is not None:
            raise _end(sentence, 1) from error
        raise
    except KeyboardInterrupt as interrupt:
        raise _end("Interrupted", 1) from interrupt


def _end(sentence: str, code: int) -> SystemExit:
    """The end of the process with a sentence on stderr."""
    end = SystemExit(f"lightning-nas: {sentence}")
    end.code = code  # Python would print the sentence, and end with 1
    print(end, file=sys.stderr)
    return end


def _command_line(args: ArgsType) -> type[NASCLI]:
    """That of the verb that is given, because to prepare all of them takes most of a second."""
    verb = args[0] if isinstance(args, list) and args else None
    if verb is None or verb not in NASCLI.subcommands():
        return NASCLI
    subcommands = {verb: NASCLI.subcommands()[verb]}

    class OneVerb(NASCLI):
        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return subcommands

    return OneVerb


def _verbs() -> list[str]:
    return [*NASCLI.subcommands(), *commands.COMMANDS]


def _verb(word: str) -> str:
    """A verb as its parser knows it, for those who write it with hyphens or with underscores.

    Raises:
        NASError: There is no such verb.
    """
    known = {verb.replace("-", "_"): verb for verb in _verbs()}
    if word.startswith("-"):
        return word  # an option before it
    name = word.replace("-", "_")
    if name not in known:
        raise NASError(f"there is no verb {word!r}: valid are {', '.join(known)}{nearest(name, known)}")
    return known[name]


def _require_known_classes(args: list[str]) -> None:
    """Refuses a class by a name that nothing has, in a sentence that names those that exist.

    Raises:
        NASError: A class is given by its bare name, and the package has none for this flag under it.
    """
    for flag, value in itertools.pairwise(args):
        # Anything else is a class path, a file or a dictionary. The data of convert is a folder.
        if flag not in CLASSES or not value.isidentifier() or (args[0], flag) == ("convert", "--data"):
            continue
        module, base = CLASSES[flag]
        known = [name for name in sorted(module.__all__) if _is_buildable(getattr(module, name), base)]
        if value not in (*known, "null"):
            raise NASError(
                f"{flag} is {value!r}: valid are {', '.join(known)}, and class paths of your own{nearest(value, known)}"
            )


def _is_buildable(member: object, base: type) -> bool:
    return isinstance(member, type) and issubclass(member, base) and not inspect.isabstract(member)


def _hush() -> None:
    """Drops what Lightning says at every start and no user of this command can act on."""
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
    # The verb may have been written in another way there.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter", category=UserWarning)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()


def _nas_error(error: BaseException | None) -> NASError | None:
    """The user's mistake behind an error: jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, NASError):
        error = error.__cause__
    return error
