"""The report stage: all that the other stages left, on one page and in one table."""

from datafree_nas.experiment import Experiment
from datafree_nas.report import build
from datafree_nas.runtime import mirror, processes
from datafree_nas.runtime.workdir import EXPORT_CARD, EXPORTS, REPORT, SUMMARY
from datafree_nas.search import architecture_file
from datafree_nas.stage import DONE, Stage


def _run(experiment: Experiment) -> None:
    workdir = experiment.workdir
    if (workdir.search / DONE).exists():  # else there is no architecture, or half of a search
        architecture_file.of_run(workdir.search, experiment.space)
    config, place = experiment.config.to_dict(), mirror.bucket()
    processes.once(lambda: build.write_report(workdir.root, config, place))


STAGE = Stage(
    name="report",
    directory=REPORT,
    blocks=(),
    results=(SUMMARY,),
    run=_run,
    rebuilt=True,
    beside=(EXPORTS, f"{EXPORTS}/*/*/{EXPORT_CARD}"),
)
