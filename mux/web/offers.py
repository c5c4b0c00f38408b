"""An attendee's yes to another image, from a form or over a socket of a page.

What comes in is hostile. What does not fit changes nothing: the page shows what is so a moment later.
"""

from __future__ import annotations

from mux.core.events import UpdateAccepted
from mux.core.model import UserId
from mux.web.deps import EngineLike

NUMBER_DIGITS_MAX = 9
"""Of a rollout's number: nobody pushes a thousand million times."""


async def accept_update(engine: EngineLike, user: UserId, project: object, number: object) -> bool:
    """Have an attendee swapped to the image that they were offered.

    Args:
        engine: of the event.
        user: who is signed in.
        project: its name, as the page said.
        number: of the rollout that was shown, as a number or in digits.

    Returns:
        False when there can be no such offer. An offer that is over is nobody's mistake.

    Raises EngineBusyError.
    """
    digits = str(number)
    if not digits.isdecimal() or not digits.isascii() or len(digits) > NUMBER_DIGITS_MAX:
        return False
    name = next((spec.name for spec in engine.projects() if spec.name == project), None)
    if name is None:
        return False
    await engine.submit(UpdateAccepted(user, name, int(digits)))
    return True
