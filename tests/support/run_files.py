"""What a run leaves in its folder, to compare."""


def seed_folder(results, model="mopoe", seed=0):
    return results / "digits" / "smoke" / model / f"seed-{seed}"


def results_of(folder):
    """The bytes of everything that must be the same whatever happened on the way."""
    return {
        path.name: path.read_bytes()
        for path in (folder / "metrics.json", folder / "history.csv", *(folder / "samples").iterdir())
    }
