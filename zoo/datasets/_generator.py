"""The latent process behind the synthetic patients.

Patients come in chunks of `CHUNK`; a chunk is a pure function of `(seed, index)`, so a patient does not depend
on how many others are asked for, and memory is bounded by one chunk. Each purpose draws from a random stream of
its own.

What is planted
---------------
*Severity.* A patient has a frailty `F`, and a visit a residual `R` that follows an autoregression; both are about
standard normal. The visit's severity is `S = FRAILTY * F + RESIDUAL * R`. Age and chronic disease go with `F`; acute
disease, labs, vital signs and length of stay go with `S`. Death in hospital has probability
`sigmoid(DEATH_BASE + DEATH_SLOPE * S)` and depends on nothing else: given `S` it is independent of the length of
stay, so it is the same for those who are still in hospital after 48 hours. Nothing but the visit's end, `died` and
what follows from them tells whether the patient died.

*Order.* Every visit has a functional status, a level from 0 to 3 that shows in a diagnosis code and in an analgesic.
Levels are uniform and their chain is reversible, so how often each occurred says next to nothing; but the
log-odds of readmission within 30 days rise steeply with the *step* from the last visit's level to this one's. Low
after high is good, high after low is bad.

*Return.* With probability `readmission` the next visit starts 1 to 29 days after discharge; otherwise a further
visit starts later than 31 days after, or never. Whether the patient ever returns is made to depend little on
the step. Within a visit, a return to intensive care is likelier after a severe stay.

*Death out of hospital.* Who does not return may die a month or more after the last discharge, with probability
`sigmoid(OUTSIDE_BASE + S + OUTSIDE_AGE * A + OUTSIDE_MALE * M)`: A is the age at the first admission in spreads of 17
years from 63, M is 1/2 for men and -1/2 for women. No other event tells the sex, and age shows elsewhere only as far as
it goes with `F`.

*Drugs.* Conditions call for classes, a class has alternatives, a patient mostly keeps to one; many interact.
"""

from dataclasses import fields

import numpy as np

from zoo.datasets._facts import codes, conditions, drugs, measurements
from zoo.datasets._simulated import (
    ADMIT,
    READMIT,
    STEP_DOWN,
    TRANSFER,
    Charts,
    Chunk,
    Coded,
    Labs,
    Notes,
    Orders,
    Patients,
    Relation,
    Stays,
    Visits,
    stream,
)

VERSION = 2  # another number whenever the same seed gives other patients
CHUNK = 1_000
MAX_PATIENTS = 1 << 20
MAX_VISITS = 16
LEVELS = 4  # of functional status

HOUR = 60
DAY = 24 * HOUR
YEAR = 365.25 * DAY

FRAILTY, RESIDUAL = 0.55, 0.835  # shares of frailty and residual in severity: squares add up to 1
PERSISTENCE = 0.5  # of the residual from a visit to the next
DEATH_BASE, DEATH_SLOPE = -3.7, 2.0
READMISSION_BASE, READMISSION_SEVERITY = -1.0, 0.35
STEP_LOG_ODDS = np.array([-3.2, -2.9, -2.4, 0.0, 2.4, 2.9, 3.2])  # for steps -3 … 3
SAME_LEVEL = 0.12  # probability that the level stays
RETURN_TO_UNIT = 0.35  # probability of a return to intensive care after a very severe stay
OUTSIDE_BASE, OUTSIDE_AGE, OUTSIDE_MALE = -3.2, 2.0, 2.0  # of death out of hospital, without a return
RETURN = 0.72  # probability of any further visit, as far as readmission leaves room
FIRST_ADMISSION = (np.datetime64("2105-01-01", "m").astype(int), np.datetime64("2175-01-01", "m").astype(int))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simulate_histories(seed: int, index: int, *, intensive: bool = False) -> tuple[Patients, Visits]:
    """Patients of a chunk and their visits, with the true probabilities but without events.

    `intensive` puts every visit into intensive care (eICU has no others); nothing else changes by it.

    >>> patients, visits = simulate_histories(seed=0, index=0)
    >>> len(patients), 2 < len(visits) / len(patients) < 4
    (1000, True)
    """
    rng = stream(seed, index, "histories")
    known = conditions()
    n, chronic = CHUNK, known.chronic
    age = np.clip(rng.normal(63, 17, n), 18, 95)
    older = np.clip((age - 63) / 17, -2.5, 2)
    frailty = 0.4 * older + 0.917 * rng.normal(size=n)
    residual = rng.normal(size=n)
    stage = np.zeros((n, len(known.names)), dtype=np.int8)
    stage[:, chronic] = _onset(rng, known.base[chronic] + np.outer(frailty, 0.6 * known.severity[chronic] + 0.3))
    level = rng.integers(LEVELS, size=n)
    previous = np.full(n, -1)
    start = rng.integers(*FIRST_ADMISSION, size=n)
    present = np.ones(n, dtype=bool)
    death = np.full(n, -1)
    outside = {"draw": np.ones(n), "severity": np.zeros(n), "time": death}  # of who leaves and does not return
    steps = []
    for number in range(MAX_VISITS):
        severity = FRAILTY * frailty + RESIDUAL * residual
        stage = _progress(rng, stage, severity, first=number == 0)
        end = start + np.maximum(4 * HOUR, DAY * np.exp(1.45 + 0.22 * severity + 0.55 * rng.normal(size=n))).astype(int)
        p_death = sigmoid(DEATH_BASE + DEATH_SLOPE * severity)
        died = rng.random(n) < p_death
        may_return = number < MAX_VISITS - 1
        p_soon = _readmission(level, previous, severity) if may_return else np.zeros(n)
        soon = rng.random(n) < p_soon
        late = rng.random(n) < (np.clip((RETURN - p_soon) / (1 - p_soon), 0.05, 1) if may_return else 0)
        emergency, wait = rng.random(n) < 0.65, rng.integers(HOUR, 8 * HOUR, n)
        wants_intensive = (rng.random(n) < sigmoid(0.7 + 0.9 * severity)) | intensive
        rows = np.flatnonzero(present)
        states = np.column_stack([stage, np.ones(n, np.int8), (level + 1).astype(np.int8)])
        step = Visits(
            patient=np.arange(n),
            number=np.full(n, number),
            start=start,
            end=end,
            registration=np.where(emergency, start - wait, -1),
            severity=severity,
            level=level,
            stages=states,
            died=died,
            intensive=wants_intensive,
            mortality=p_death,
            readmission=np.where(died, np.nan, p_soon),
            mortality_next_visit=np.where(died | (not may_return), np.nan, _next_death(frailty, residual)),
        )
        steps.append(step.take(rows))
        death = np.where(present & died, end, death)
        returns = present & ~died & (soon | late)
        draw, later = rng.random(n), end + 31 * DAY + (DAY * rng.exponential(200, n)).astype(int)
        leaves = present & ~died & ~returns
        now = {"draw": draw, "severity": severity, "time": later}
        outside = {name: np.where(leaves, value, outside[name]) for name, value in now.items()}
        within = rng.integers(DAY, 29 * DAY, n)
        after = 31 * DAY + np.minimum(DAY * rng.exponential(140, n), 900 * DAY).astype(int)
        start = end + np.where(soon, within, after)
        residual = PERSISTENCE * residual + np.sqrt(1 - PERSISTENCE**2) * rng.normal(size=n)
        previous, level = level, _next_level(rng, level)
        present = returns
    female = rng.random(n) < 0.45
    odds = OUTSIDE_BASE + outside["severity"] + OUTSIDE_AGE * older + OUTSIDE_MALE * (0.5 - female)
    death = np.where(outside["draw"] < sigmoid(odds), outside["time"], death)
    patients = Patients(
        number=index * CHUNK + np.arange(n),
        female=female,
        age=age,
        ethnicity=rng.choice(5, n, p=[0.68, 0.12, 0.08, 0.04, 0.08]),
        death=death,
    )
    visits = Visits(*(np.concatenate([getattr(step, f.name) for step in steps]) for f in fields(Visits)))
    return patients, visits.take(np.lexsort((visits.number, visits.patient)))


def _onset(rng, log_odds: np.ndarray) -> np.ndarray:
    """Stage 0 (absent) to 3 for each patient and condition."""
    deeper = 1 + (rng.random(log_odds.shape) < 0.45) + (rng.random(log_odds.shape) < 0.25)
    return np.where(rng.random(log_odds.shape) < sigmoid(log_odds), deeper, 0).astype(np.int8)


def _progress(rng, stage: np.ndarray, severity: np.ndarray, *, first: bool) -> np.ndarray:
    """Stages in the next visit: chronic disease begins, worsens, rarely eases; acute disease is drawn anew."""
    known = conditions()
    now = _onset(rng, known.base + np.outer(severity, known.severity))
    worse = (severity[:, None] + 0.8 * rng.normal(size=now.shape) > 1.0) & (now > 0)
    now = np.minimum(3, now + worse).astype(np.int8)
    move = rng.random(now.shape)
    change = np.where(move < 0.12, 1, np.where(move > 0.96, -1, 0))
    kept = np.clip(stage + change, 0, 3)
    begins = (stage == 0) & (now > 0) & (move > 0.85)
    chronic = stage if first else np.where(stage > 0, kept, np.where(begins, 1, 0))
    return np.where(known.chronic, chronic, now).astype(np.int8)


def _next_level(rng, level: np.ndarray) -> np.ndarray:
    """A reversible chain with uniform levels: mostly another level, each equally likely."""
    other = (level + rng.integers(1, LEVELS, size=len(level))) % LEVELS
    return np.where(rng.random(len(level)) < SAME_LEVEL, level, other)


def _readmission(level: np.ndarray, previous: np.ndarray, severity: np.ndarray) -> np.ndarray:
    """P(next visit within 30 days | alive): the step between levels counts, not the levels."""
    step = np.where(previous < 0, 0, level - previous)
    return sigmoid(READMISSION_BASE + STEP_LOG_ODDS[step + LEVELS - 1] + READMISSION_SEVERITY * severity)


def _next_death(frailty: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """P(death in the next visit | frailty and residual now), over the next residual by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    following = PERSISTENCE * residual[:, None] + np.sqrt(1 - PERSISTENCE**2) * nodes
    severity = FRAILTY * frailty[:, None] + RESIDUAL * following
    return sigmoid(DEATH_BASE + DEATH_SLOPE * severity) @ (weights / weights.sum())


def simulate_chunk(seed: int, index: int, *, intensive: bool = False) -> Chunk:
    """One chunk with all events. Arguments are those of `simulate_histories`.

    >>> chunk = simulate_chunk(seed=0, index=0)
    >>> bool((chunk.labs.result >= chunk.labs.time).all())
    True
    """
    patients, visits = simulate_histories(seed, index, intensive=intensive)
    stays = _stays(stream(seed, index, "stays"), visits)

    def shuffled(relation: Relation, purpose: str):
        return relation.take(stream(seed, index, f"order of {purpose}").permutation(len(relation)))

    return Chunk(
        seed=seed,
        index=index,
        patients=patients,
        visits=visits,
        stays=stays,
        diagnoses=shuffled(_coded(stream(seed, index, "diagnoses"), visits, "diagnosis"), "diagnoses"),
        procedures=shuffled(_coded(stream(seed, index, "procedures"), visits, "procedure"), "procedures"),
        orders=shuffled(_orders(stream(seed, index, "orders"), visits), "orders"),
        labs=shuffled(_labs(stream(seed, index, "labs"), visits), "labs"),
        charts=shuffled(_charts(stream(seed, index, "charts"), visits, stays), "charts"),
        notes=shuffled(_notes(stream(seed, index, "notes"), visits, stays), "notes"),
    )


def _stays(rng, visits: Visits) -> Stays:
    """One or two stays in each intensive visit. Their times do not depend on death (a ceiling must stay one)."""
    n = len(visits)
    length = visits.end - visits.start
    first_start = visits.start + (rng.random(n) * np.minimum(6 * HOUR, 0.2 * length)).astype(int)
    first_end = first_start + ((0.3 + 0.4 * rng.random(n)) * length).astype(int)
    moved = rng.random(n)
    kind = np.select([moved < 0.06, moved < 0.14], [TRANSFER, STEP_DOWN], ADMIT)
    kind = np.where(rng.random(n) < RETURN_TO_UNIT * sigmoid(visits.severity - 1), READMIT, kind)
    second = kind != ADMIT
    rest = visits.end - first_end
    second_start = first_end + np.where(kind == READMIT, (0.1 + 0.3 * rng.random(n)) * rest, 0).astype(int)
    to_the_end = rng.random(n) < 0.35
    second_end = second_start + (0.3 + 0.4 * rng.random(n)) * (visits.end - second_start)
    second_end = np.where(to_the_end, visits.end, second_end).astype(int)
    first_end = np.where(to_the_end & ~second, visits.end, first_end)
    unit = rng.integers(6, size=n)
    one, two = np.flatnonzero(visits.intensive), np.flatnonzero(visits.intensive & second)
    return Stays(
        visit=np.concatenate([one, two]),
        number=np.repeat([0, 1], [len(one), len(two)]),
        start=np.concatenate([first_start[one], second_start[two]]),
        end=np.concatenate([first_end[one], second_end[two]]),
        unit=np.concatenate([unit[one], (unit[two] + (kind[two] != READMIT)) % 6]),
        kind=np.concatenate([np.full(len(one), ADMIT), kind[two]]),
    )


def _coded(rng, visits: Visits, kind: str) -> Coded:
    """Codes that the stages call for; the first are those of acute disease."""
    known = codes(kind)
    stage = visits.stages[:, known.state]
    called = (stage >= known.low) & ((stage <= known.high) | (known.high == 0))
    visit, code = np.nonzero(called & (rng.random(called.shape) < known.probability))
    chronic = np.append(conditions().chronic, [True, True])
    rank = rng.random(len(visit)) + 0.7 * chronic[known.state[code]]
    order = np.lexsort((rank, visit))
    visit, code = visit[order], code[order]
    counts = np.bincount(visit, minlength=len(visits))
    sequence = np.arange(len(visit)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    length = visits.end[visit] - visits.start[visit]
    return Coded(visit, sequence, code, visits.start[visit] + (rng.random(len(visit)) * length).astype(int))


def prescribed(rng, visits: Visits) -> tuple[np.ndarray, np.ndarray]:
    """Visit and drug of each drug given: one alternative of each class that is called for."""
    known = drugs()
    active = visits.stages[:, known.rule_state] >= known.rule_stage
    of_function = known.rule_state == visits.stages.shape[1] - 1
    active[:, of_function] = visits.stages[:, -1:] == known.rule_stage[of_function]
    refusal = np.zeros((len(known.rule_class), len(known.classes)))
    refusal[np.arange(len(known.rule_class)), known.rule_class] = np.log1p(-known.rule_probability)
    chance = 1 - np.exp(active @ refusal)
    visit, group = np.nonzero(rng.random(chance.shape) < chance)
    habit = rng.random((CHUNK, len(known.classes)))[visits.patient[visit], group]
    choice = np.where(rng.random(len(visit)) < 0.85, habit, rng.random(len(visit)))
    return visit, known.first[group] + (choice * known.size[group]).astype(int)


def _orders(rng, visits: Visits) -> Orders:
    visit, drug = prescribed(rng, visits)
    length = (visits.end - visits.start)[visit]
    times = 1 + np.minimum(rng.poisson(0.28 * length / DAY), 5)
    visit, drug, length = np.repeat(visit, times), np.repeat(drug, times), np.repeat(length, times)
    first = np.zeros(len(visit), dtype=bool)
    first[np.cumsum(times) - times] = True
    start = visits.start[visit] + (rng.random(len(visit)) * np.where(first, 0.3, 0.95) * length).astype(int)
    return Orders(
        visit=visit,
        drug=drug,
        start=start,
        stop=np.minimum(start + rng.integers(1, 5, len(visit)) * DAY, visits.end[visit]),
        pack=rng.integers(2, size=len(visit)),
        coded=rng.random(len(visit)) < 0.88,
        cancelled=rng.random(len(visit)) < 0.03,
    )


def _values(rng, kind: str, visits: Visits, visit: np.ndarray, noise: float) -> np.ndarray:
    """Measured values (rows, measurements): severity and stages shift them, in units of their spread."""
    known = measurements(kind)
    person = rng.normal(size=(CHUNK, len(known.names)))[visits.patient]
    centre = np.outer(visits.severity, known.severity) + visits.stages @ known.effects + 0.4 * person
    z = centre.astype(np.float32)[visit]
    z += noise * rng.standard_normal(z.shape, dtype=np.float32)
    spread, mean = known.spread.astype(np.float32), known.mean.astype(np.float32)
    value = mean + spread * z
    logs = known.logarithmic
    value[:, logs] = mean[logs] * np.exp(spread[logs] * z[:, logs])
    value = np.clip(value, known.minimum, known.maximum)
    scale = 10.0**known.decimals
    return np.rint(value * scale) / scale


PANELS = {
    "chemistry": (0.9, 0.85),
    "count": (0.6, 0.6),
    "coagulation": (0.3, 0.15),
    "gas": (0.5, 0.08),
    "liver": (0.25, 0.1),
    "cardiac": (0.2, 0.08),
}  # share of draws with it: intensive care, ward


def _labs(rng, visits: Visits) -> Labs:
    """Draws through the visit, one in the emergency department, and some after discharge."""
    n, most = len(visits), 4
    rows = np.arange(n)
    spacing = np.where(visits.intensive, 12 * HOUR, 36 * HOUR)
    offset = (np.arange(most) + rng.random((n, most)) * 0.6) * spacing[:, None]
    offset[:, 0] = rng.random(n) * 3 * HOUR
    inside = offset < np.minimum(visits.end - visits.start, np.where(visits.intensive, most, 2) * spacing)[:, None]
    visit, draw = np.nonzero(inside)
    time = visits.start[visit] + offset[visit, draw].astype(int)
    place = (rng.random(len(visit)) < 0.06).astype(int)
    emergency = rows[(visits.registration >= 0) & (rng.random(n) < 0.8)]
    wait = visits.start[emergency] - visits.registration[emergency]
    after = rows[~visits.died & (rng.random(n) < 0.3)]
    visit = np.concatenate([visit, emergency, after])
    time = np.concatenate(
        [
            time,
            visits.registration[emergency] + (wait * 0.6 * rng.random(len(emergency))).astype(int),
            visits.end[after] + rng.integers(2 * HOUR, 14 * HOUR, len(after)),
        ]
    )
    place = np.concatenate([place, np.full(len(emergency), 2), np.full(len(after), 3)])
    result = time + rng.integers(15, 2 * HOUR, len(time))
    known = measurements("labs")
    share = np.array([PANELS[panel] for panel in known.texts("panel")])
    panels = list(PANELS)
    panel = np.array([panels.index(name) for name in known.texts("panel")])
    ward = ~visits.intensive[visit] | (place == 3)
    lucky = rng.random((len(visit), len(panels)), dtype=np.float32)[:, panel]
    drawn = lucky < np.where(ward[:, None], share[:, 1], share[:, 0])
    drawn &= rng.random(drawn.shape, dtype=np.float32) < 0.96
    value = _values(rng, "labs", visits, visit, noise=0.8)
    row, item = np.nonzero(drawn)
    return Labs(visit[row], row, time[row], result[row], item, value[row, item], place[row])


def _charts(rng, visits: Visits, stays: Stays) -> Charts:
    """Every three hours and a half in the first two days of intensive care; twice on the ward."""
    most = 13
    first = np.flatnonzero(stays.number == 0)
    offset = (np.arange(most) + 0.8 * rng.random((len(first), most))) * 3.6 * HOUR
    row, moment = np.nonzero(offset < (stays.end - stays.start)[first][:, None])
    ward = np.repeat(np.flatnonzero(~visits.intensive), 2)
    stay = np.concatenate([first[row], np.full(len(ward), -1)])
    visit = np.concatenate([stays.visit[first[row]], ward])
    in_ward = visits.start[ward] + (rng.random(len(ward)) * np.minimum(DAY, visits.end - visits.start)[ward]).astype(
        int
    )
    time = np.concatenate([stays.start[first[row]] + offset[row, moment].astype(int), in_ward])
    value = _values(rng, "vitals", visits, visit, noise=0.9)
    value[rng.random(value.shape) < 0.06] = np.nan
    return Charts(visit, stay, time, time + rng.integers(1, 30, len(time)), value)


def _notes(rng, visits: Visits, stays: Stays) -> Notes:
    """A nursing note in each of the first three half-days of intensive care, radiology in most visits, one summary."""
    first = np.flatnonzero(stays.number == 0)
    offset = (np.arange(3) + rng.random((len(first), 3))) * 12 * HOUR
    row, moment = np.nonzero(offset < (stays.end - stays.start)[first][:, None])
    nursing = stays.visit[first[row]]
    imaged = np.flatnonzero(rng.random(len(visits)) < 0.75)
    image_time = visits.start + (rng.random(len(visits)) * 0.3 * (visits.end - visits.start)).astype(int)
    visit = np.concatenate([nursing, imaged, np.arange(len(visits))])
    time = np.concatenate([stays.start[first[row]] + offset[row, moment].astype(int), image_time[imaged], visits.end])
    return Notes(
        visit=visit,
        kind=np.repeat([0, 1, 2], [len(nursing), len(imaged), len(visits)]),
        time=time,
        saved=time + rng.integers(5, 3 * HOUR, len(time)),
        focus=rng.random(len(visit)),
    )
