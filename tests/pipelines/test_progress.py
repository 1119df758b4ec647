"""The line of a stage under way: tasks, share, speed, time left."""

from pipelines import manifest, progress, run


def test_a_stage_that_reads_text_tells_its_share_of_the_text_and_its_speed():
    now = run.Progress("clean", "clean", tasks=8, done=3, weight=40_000_000, weight_done=10_000_000, seconds=5.0)
    assert progress.current(now) == "clean                      3/8 tasks   25%     2.0 MB/s  0:15 left"


def test_a_stage_without_text_tells_its_share_of_the_tasks():
    now = run.Progress("counts", "tokenizer", tasks=4, done=1, weight=0, seconds=2.0)
    assert progress.current(now) == "counts                     1/4 tasks   25%               0:06 left"


def test_a_stage_of_one_task_tells_how_far_the_task_is():
    now = run.Progress("tokenizer", "tokenizer", tasks=1, done=0, weight=0, task_share=0.4, seconds=60.0)
    assert progress.current(now) == "tokenizer                  0/1 tasks   40%               1:30 left"


def test_the_time_left_rests_on_what_this_run_has_done():
    now = run.Progress("tokenizer", "tokenizer", tasks=1, done=0, weight=0, task_share=0.9, before=0.8, seconds=60.0)
    assert progress.current(now) == "tokenizer                  0/1 tasks   90%               1:00 left"


def test_a_task_that_is_done_and_still_shown_is_counted_once():
    assert run.Progress("tokenizer", "tokenizer", tasks=1, done=1, weight=0, task_share=1.0).share == 1.0


def test_nothing_is_said_of_the_time_left_before_anything_is_done():
    now = run.Progress("tokenizer", "tokenizer", tasks=1, done=0, weight=0, seconds=3.0)
    assert progress.current(now) == "tokenizer                  0/1 tasks    0%"


def test_a_finished_stage_tells_its_speed_and_what_became_of_the_documents():
    counts = manifest.Counts(documents_in=1_000, kept=900, removed={"too_few_bytes": 60}, rejected={"no_utf8": 40})
    now = run.Progress("clean", "clean", tasks=8, done=8, weight=40_000_000, seconds=5.0, counts=counts)
    assert progress.final(now) == (
        "clean                         8 tasks     5.0 s     8.0 MB/s  "
        "900 of 1,000 documents kept (too_few_bytes 60, no_utf8 40)"
    )


def test_a_finished_stage_without_text_tells_its_time_alone():
    now = run.Progress("counts", "tokenizer", tasks=46, done=46, weight=0, seconds=75.04)
    assert progress.final(now) == "counts                       46 tasks    75.0 s"
