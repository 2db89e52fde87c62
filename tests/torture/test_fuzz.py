import random

from torture import fuzz


def test_files_of_nonsense_are_answered_soon_and_sensibly(processes):
    app = processes("app.py")
    attack = fuzz.run(app, 400, seed=random.randrange(10**6))
    assert attack.sent >= 400
    assert attack.answers.get(201, 0) > 20
    assert attack.answers.get(422, 0) > 20
    assert app.megabytes("VmHWM") <= fuzz.MEGABYTES
    assert "request failed" not in app.output


def test_damaged_workbooks_pages_and_archives_are_answered_soon_and_sensibly(processes):
    app = processes("app.py")
    for kind, count in (("workbooks", 10), ("markup", 30), ("packed", 15)):
        assert fuzz.run(app, count, random.randrange(10**6), kind).sent >= count
    assert app.megabytes("VmHWM") <= fuzz.MEGABYTES
    assert "request failed" not in app.output


def test_chunks_of_nonsense_are_refused_soon(processes):
    app = processes("app.py")
    fuzz.run_chunk_lines(app.site(), 100, seed=random.randrange(10**6))
    assert "Traceback" not in app.output
