"""When simulated people shop: by day, by week, in sessions."""

import numpy as np

START = 1672617600  # Monday, 2 January 2023, 00:00 UTC
DAY = 86400
_HORIZON = 300  # days
_NIGHT_TO_NIGHT = [1, 1, 1, 1, 1, 2, 5, 9, 10, 9, 9, 10, 12, 10, 8, 8, 9, 12, 17, 22, 24, 20, 11, 4]
_WEEK = np.concatenate([np.array(_NIGHT_TO_NIGHT) * day for day in (1, 1, 0.9, 1, 1.1, 1.7, 1.5)])
_FAR = 10**12
_MEDIAN_GAP, _SPREAD, _LONGEST_GAP = 70.0, 0.9, 1200.0


def event_times(new_session: np.ndarray, offsets: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(E,) int64 seconds since 1970, strictly ascending within a user.

    Sessions come at random (a Poisson process) in a time that runs fast in busy hours and slowly at night; undoing
    that gives the daily and weekly rhythm. Within a session gaps are about a minute.

    Args:
        new_session: (E,) bool, true at least at each user's first event.
        offsets: (U+1,).
    """
    lengths = np.diff(offsets)
    n_users = len(lengths)
    user = np.repeat(np.arange(n_users), lengths)
    owner = user[new_session]
    joined = generator.uniform(0, 0.6, n_users)
    stays = (1 - joined) * generator.beta(4, 1, n_users)
    sessions = np.bincount(owner, minlength=n_users)
    steps = generator.exponential(1.0, len(owner)) + 0.2
    total = np.bincount(owner, steps, minlength=n_users) + generator.exponential(1.0, n_users) + 0.2
    starts = busy_time(joined[owner] + (stays / total)[owner] * _restarting_sum(steps, sessions))
    session = np.cumsum(new_session) - 1
    times = starts[session] + since_start(new_session, generator)
    # A session that would start before the last one has ended waits for it; every event gets its own second.
    ahead = user * _FAR - np.arange(len(times))
    seconds: np.ndarray = START + np.maximum.accumulate(times.astype(np.int64) + ahead) - ahead
    return seconds


def since_start(new_session: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(E,) seconds since the start of each event's session; ``new_session`` (E,) tells which events start one."""
    gaps = np.exp(generator.normal(np.log(_MEDIAN_GAP), _SPREAD, len(new_session))).clip(1, _LONGEST_GAP)
    gaps[new_session] = 0
    return _restarting_sum(gaps, np.diff(np.append(np.flatnonzero(new_session), len(new_session))))


def _restarting_sum(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Cumulative sums that start again after each of ``lengths`` values."""
    total = np.cumsum(values)
    ends = np.cumsum(lengths)
    before = np.where(ends > lengths, total[np.maximum(ends - lengths - 1, 0)], 0.0)
    result: np.ndarray = total - np.repeat(before, lengths)
    return result


def busy_time(share: np.ndarray, days: int = _HORIZON) -> np.ndarray:
    """Seconds since the start at which ``share`` of all activity of the first ``days`` has passed."""
    passed = np.concatenate([[0.0], np.cumsum(np.resize(_WEEK, 24 * days))])
    seconds: np.ndarray = np.interp(share, passed / passed[-1], 3600.0 * np.arange(len(passed)))
    return seconds
