"""Python's search for garbage, which holds up every answer while it looks."""

import atexit
import gc

atexit.register(gc.unfreeze)  # at the end all of it is to go; libraries complain about what does not


def settle() -> None:
    """Collect garbage, and let later searches pass over all that is there by now: libraries, a model, a catalog.

    Those are a quarter of a million objects. Looking through them takes a fifth of a second, every few hundred answers.
    What is let go later is freed as ever, but for things that hold each other, such as models: the next call finds
    those.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
