"""`mmbench sample`, `translate`, `embed` and `export`: what a trained model is good for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mmbench.cli.options import HOW, PATH, WHAT, WHERE, Command, device_option, option
from mmbench.console import printable
from models.errors import InputError

__all__ = ["embed", "export", "sample", "translate"]

_run = click.argument("run", type=PATH)
_own_file_option = option(
    "--model-file", group=WHAT, type=PATH, help="Python file that registers the model, if it is one of yours."
)
_seed_option = option(
    "--seed",
    group=HOW,
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Of the draws.",
)


@contextmanager
def _undefined_is_bad_input(run: Path) -> Iterator[None]:
    """What the model cannot do is bad input of the command that asks for it."""
    from models.base import NotDefinedError

    try:
        yield
    except NotDefinedError as error:
        raise InputError(f"The model in {run} cannot do this: {error}") from None


@click.command(cls=Command)
@_run
@option("--n", group=WHAT, type=click.IntRange(min=1), default=64, show_default=True, help="Joint draws.")
@_own_file_option
@option(
    "--out",
    group=WHERE,
    type=PATH,
    required=True,
    help="A .png (a figure), an .npz, or a folder of single files.",
)
@_seed_option
@device_option
def sample(run: Path, n: int, model_file: Path | None, out: Path, seed: int, device: str) -> None:
    """Draw from the trained model in RUN: the folder of a finished run, or of `mmbench export`.

    In the figure the same place in every block is the same draw.
    """
    from mmbench.plan.choices import pick_device
    from mmbench.trained.items import check_output, write_items
    from mmbench.trained.loading import load_trained
    from mmbench.trained.pictures import draw_figure
    from mmbench.trained.use import draw

    trained = load_trained(run, model_file)
    model = trained.model.to(pick_device(device))
    figure = out.suffix.lower() == ".png"
    if not figure:
        check_output(out, list(model.modalities.values()))
    with _undefined_is_bad_input(run):
        drawn = draw(model, n, seed)
    if figure:
        draw_figure(
            drawn,
            model.modalities,
            trained.run.entry.title,
            f"Joint draws after training on {trained.run.dataset}.",
            out,
        )
    else:
        write_items(out, drawn, model.modalities)
    click.echo(printable(str(out)))


@click.command(cls=Command)
@_run
@option(
    "--from",
    "sources",
    group=WHAT,
    type=(str, PATH),
    multiple=True,
    required=True,
    help="A modality, and a picture, a .wav, a folder of them, a text file or an .npz; may be repeated.",
)
@option("--to", "targets", group=WHAT, multiple=True, required=True, help="A modality; may be repeated.")
@_own_file_option
@option(
    "--out",
    group=WHERE,
    type=PATH,
    required=True,
    help="A .png (all items in one sheet), a .wav, a .txt, an .npz, or a folder of single files.",
)
@option(
    "--sample", "sampled", group=HOW, is_flag=True, help="Draw the latents instead of taking their means."
)
@_seed_option
@device_option
def translate(
    run: Path,
    sources: tuple[tuple[str, Path], ...],
    targets: tuple[str, ...],
    model_file: Path | None,
    out: Path,
    sampled: bool,
    seed: int,
    device: str,
) -> None:
    """Generate modalities from others with the trained model in RUN.

    RUN is the folder of a finished run, or of `mmbench export`. Pictures have the size of the modality.
    """
    from mmbench.plan.choices import pick_device
    from mmbench.trained.items import check_output, read_items, write_items
    from mmbench.trained.loading import load_model
    from mmbench.trained.use import check_modality, translate_items

    model = load_model(run, model_file)
    for name in (*dict(sources), *targets):
        check_modality(model, name)
    if len(dict(sources)) < len(sources):
        raise InputError("--from names a modality twice: give all of its items as a folder or an .npz.")
    wanted = list(dict.fromkeys(targets))
    check_output(out, [model.modalities[name] for name in wanted])
    inputs = {name: read_items(path, model.modalities[name]) for name, path in sources}
    model.to(pick_device(device))
    with _undefined_is_bad_input(run):
        translated = translate_items(model, inputs, wanted, seed if sampled else None)
    write_items(out, translated, model.modalities)
    click.echo(printable(str(out)))


@click.command(cls=Command)
@_run
@click.argument("data", type=PATH)
@_own_file_option
@option("--out", group=WHERE, type=PATH, required=True, help="An .npz with the array embedding (n, L).")
@device_option
def embed(run: Path, data: Path, model_file: Path | None, out: Path, device: str) -> None:
    """Write the representations of the items in DATA, by the trained model in RUN.

    DATA is an .npz whose arrays are called as modalities are, bytes or floats from 0 to 1, vectors and
    counts as they are; the items of several belong together.
    """
    from mmbench.plan.choices import pick_device
    from mmbench.trained.items import read_archive, write_arrays
    from mmbench.trained.loading import load_model
    from mmbench.trained.use import embed_items

    model = load_model(run, model_file)
    inputs = read_archive(data, model.modalities)
    model.to(pick_device(device))
    write_arrays(out, {"embedding": embed_items(model, inputs)})
    click.echo(printable(str(out)))


@click.command(cls=Command)
@_run
@click.argument("folder", type=PATH)
@_own_file_option
def export(run: Path, folder: Path, model_file: Path | None) -> None:
    """Write the trained model of RUN into FOLDER, for others: weights, configuration, metrics, a model card.

    The folder has the layout of the Hugging Face hub; `mmbench.load_model(FOLDER)` reads it anywhere.
    """
    from mmbench.trained.export import export_model

    click.echo(printable(str(export_model(run, folder, model_file))))
