from bench.statements import Statement, between


def test_only_what_was_executed_in_between_is_told_the_most_expensive_first():
    before = {1: Statement("SELECT 1", 5, 2.0), 2: Statement("COMMIT", 7, 1.0)}
    after = {
        1: Statement("SELECT 1", 5, 2.0),
        2: Statement("COMMIT", 10, 1.5),
        3: Statement("UPDATE\n  t SET x = $1", 1, 4.0),
    }
    assert between(before, after) == [Statement("UPDATE t SET x = $1", 1, 4.0), Statement("COMMIT", 3, 0.5)]
