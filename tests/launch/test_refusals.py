"""A malformed command line is one line that names the flag, and status 2."""

import os

import pytest

# What is given, and the flag that the message must begin with.
_INTEGERS = ("heads", "width", "value_width", "replicates")
_NO_INTEGER = ("0", "-1", "abc", "1.5", "", "1e3", "nan", "1,2", "None", "1_0")
_NO_LENGTHS = (
    "",
    "abc",
    "0",
    "-256",
    "256,0",
    "256,256",
    "256,,512",
    ",",
    "256,",
    ",256",
    "1.5",
    "256;512",
    "256 512",
    "2**9",
    "1e3",
    "nan",
    "9" * 400,
    "256,abc",
    "('a','b')",
    "٣",
)
_NO_SECONDS = (
    "0",
    "-1",
    "nan",
    "inf",
    "-inf",
    "abc",
    "",
    "1,2",
    "1e999",
    "None",
)
_FIELDS = [
    *(
        (f"--config.{n}={v}", f"--config.{n}")
        for n in _INTEGERS
        for v in _NO_INTEGER
    ),
    *(
        (f"--config.{n}={v}", f"--config.{n}")
        for n in ("lengths", "batch")
        for v in _NO_LENGTHS
    ),
    *(
        (f"--config.{n}={v}", f"--config.{n}")
        for n in ("budget", "point_budget", "allowance")
        for v in _NO_SECONDS
    ),
    *(
        (f"--config.chunk={v}", "--config.chunk")
        for v in ("-1", "abc", "1.5", "64,128", "-0.5", "inf", "auto")
    ),
    *(
        (f"--config.seed={v}", "--config.seed")
        for v in ("-1", "abc", "0.5", "", "None", "99999999999")
    ),
    *(
        (f"--config.passes={v}", "--config.passes")
        for v in (
            "",
            "backward",
            "forward,forward",
            "forward;forward_backward",
            "Forward",
            "forward,",
            "1",
            "all",
        )
    ),
    *(
        (f"--config.dtype={v}", "--config.dtype")
        for v in ("", "int32", "float", "float32,float32", "fp32", "np.float32")
    ),
    *(
        (f"--config.causal={v}", "--config.causal")
        for v in ("", "maybe", "2", "None", "yes please")
    ),
    *(
        (f"--config.mechanisms={v}", "--config.mechanisms")
        for v in (
            "",
            ",",
            "steady,",
            "steady,steady",
            "steady softmax",
            "1",
            "a:",
            ":b",
            "a:b:c",
            "a/b",
            "../x",
            "a-b",
            "steady;wrong",
        )
    ),
    *(
        (f"--config.forms={v}", "--config.forms")
        for v in (
            "direct,direct",
            "direct,",
            "a b",
            "steady.",
            ".direct",
            "1",
            "-",
        )
    ),
    *(
        (f"--config.corpus={v}", "--config.corpus")
        for v in (
            "/none/such",
            "Normal",
            "no such file",
            "\x01",
            "configs/none",
        )
    ),
]
_OTHERS = [
    *(
        (f"--worker={v}", "--worker")
        for v in (
            "",
            "0/0",
            "3/2",
            "2/2",
            "a/b",
            "1",
            "1/",
            "/2",
            "-1/2",
            "0/-1",
            "0.5/2",
            "1/2/3",
            "0/ 2",
            "0 /2",
            "1\\2",
            "9999999999/99999999999",
        )
    ),
    ("--worker", "--worker"),
    ("--out", "--out"),
    ("--out=", "--out"),
    ("--config", "--config"),
    ("--config=", "--config"),
    ("--config.width", "--config.width"),
    ("--config.lengths", "--config.lengths"),
    ("--dry_run=perhaps", "--dry_run"),
    ("--dry_run=2", "--dry_run"),
    ("--dry-run", "--dry-run"),
    ("--dryrun", "--dryrun"),
    ("--dru_run", "--dru_run"),
    ("--length=256", "--length"),
    ("--lengths=256", "--lengths"),
    ("--outdir=x", "--outdir"),
    ("--Config=x", "--Config"),
    ("--workers=0/2", "--workers"),
    ("--noworker", "--noworker"),
    ("--noconfig", "--noconfig"),
    ("--nodry_run=1", "--nodry_run"),
    ("-x", "--x"),
    ("--=", "'--='"),
    ("--=x", "'--=x'"),
    ("--unknown", "--unknown"),
    ("--flagfile=/none/such", "--flagfile"),
    ("--flagfile=/", "--flagfile"),
    ("--flagfile", "--flagfile"),
    ("--noconfig.width", "--noconfig.width"),
    ("--config.=1", "--config."),
    ("--config.length=256", "--config.length"),
    ("--config.Lengths=256", "--config.Lengths"),
    ("--config.lengths[0]=256", "--config.lengths[0]"),
    ("--config.model.width=3", "--config.model.width"),
    ("--config.width.x=3", "--config.width.x"),
    ("--config.__class__=x", "--config.__class__"),
    ("--noconfig.unknown", "--config.unknown"),
    ("stray", "'stray'"),
    ("-- --dry_run", "'--dry_run'"),
    ("--dry_run stray", "'stray'"),
    ("--dry_run false", "'false'"),
    ("0/2", "'0/2'"),
    ("-", "'-'"),
    ("--out=/dev/null", "--out"),
    ("--out=/dev/null/below", "--out"),
    ("--out=setup.cfg", "--out"),
    ("--out=setup.cfg/below --dry_run", "--out"),
    ("--out=/proc/none/such", "--out"),
    ("--out=/sys/none", "--out"),
]
_FILES = {
    "": "get_config",
    "def get_config(:": "SyntaxError",
    "\x00": "Error",
    "def get_config():\n\treturn {}\n  return {}": "Error",
    "raise RuntimeError('first\\nsecond')": "RuntimeError: first",
    "raise SystemExit(0)": "SystemExit",
    "import sys; sys.exit()": "SystemExit",
    "import no_such_module": "ModuleNotFoundError",
    "get_config = 3": "get_config",
    "def config(): return {}": "get_config",
    "def get_config(): return 3": "ConfigDict",
    "def get_config(): return None": "ConfigDict",
    "def get_config(): pass": "ConfigDict",
    "def get_config(): return [('width', 3)]": "ConfigDict",
    "def get_config(): return {3: 4}": "ConfigDict",
    "def get_config(): return 'width=3'": "ConfigDict",
    "def get_config(): return 1 / 0": "ZeroDivisionError",
    "def get_config(): raise SystemExit(3)": "SystemExit",
    "def get_config(): return get_config()": "RecursionError",
    "def get_config(name): return {}": "TypeError",
    "def get_config(): return {'widht': 3}": "widht",
    "def get_config(): return {'width': 'abc'}": "--config.width",
    "def get_config(): return {'width': 1.5}": "--config.width",
    "def get_config(): return {'width': True}": "--config.width",
    "def get_config(): return {'width': None}": "--config.width",
    "def get_config(): return {'width': {'a': 3}}": "--config.width",
    "def get_config(): return {'width': (3,)}": "--config.width",
    "def get_config(): return {'width': 10**30}": "--config.width",
    "def get_config(): return {'lengths': None}": "--config.lengths",
    "def get_config(): return {'lengths': ()}": "--config.lengths",
    "def get_config(): return {'lengths': (1, 1)}": "--config.lengths",
    "def get_config(): return {'lengths': (1, 2.5)}": "--config.lengths",
    "def get_config(): return {'lengths': ('abc',)}": "--config.lengths",
    "def get_config(): return {'lengths': ((1, 2), 3)}": "--config.lengths",
    "def get_config(): return {'lengths': {1, 2}}": "--config.lengths",
    "def get_config(): return {'lengths': range}": "--config.lengths",
    "def get_config(): return {'mechanisms': 3}": "--config.mechanisms",
    "def get_config(): return {'mechanisms': (3,)}": "--config.mechanisms",
    "def get_config(): return {'mechanisms': len}": "--config.mechanisms",
    "def get_config(): return {'causal': 'maybe'}": "--config.causal",
    "def get_config(): return {'causal': 2}": "--config.causal",
    "def get_config(): return {'causal': None}": "--config.causal",
    "def get_config(): return {'chunk': False}": "--config.chunk",
    "def get_config(): return {'chunk': 1.5}": "--config.chunk",
    "def get_config(): return {'dtype': float}": "--config.dtype",
    "def get_config(): return {'corpus': 3}": "--config.corpus",
    "def get_config(): return {'corpus': '/none'}": "--config.corpus",
    "def get_config(): return {'budget': '1 s'}": "--config.budget",
    "def get_config(): return {'budget': float('nan')}": "--config.budget",
    "def get_config(): return {'budget': 10**400}": "--config.budget",
    "def get_config(): return {'seed': '0x1'}": "--config.seed",
}


def _is_refused(outcome, flag):
  assert outcome.status == 2
  assert outcome.out == ""
  assert outcome.errors.count("\n") == 1, outcome.errors
  assert outcome.errors.startswith(f"stub_sweep: {flag}: expected ")
  assert "; got " in outcome.errors
  assert "Traceback" not in outcome.errors


@pytest.mark.parametrize("argument, flag", _FIELDS + _OTHERS)
def test_a_malformed_argument_is_one_line_that_names_the_flag(
    call, tmp_path, argument, flag
):
  given = [argument] if argument in dict(_FIELDS) else argument.split(" ")
  if argument.startswith("--worker"):
    given = [argument]
  elif "--out" not in argument:
    given = [f"--out={tmp_path / 'out'}", *given]
  _is_refused(call(*given), flag)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text, named", _FILES.items())
def test_a_malformed_config_file_is_one_line(call, tmp_path, text, named):
  file = tmp_path / "config.py"
  file.write_text(text)
  outcome = call(f"--config={file}", f"--out={tmp_path / 'out'}")
  _is_refused(outcome, named if named.startswith("--") else "--config")
  assert named in outcome.errors


@pytest.mark.parametrize(
    "name", ["none.py", "", "folder", "/dev/null", "a\nb.py", "x" * 5000]
)
def test_a_config_that_is_no_file_is_one_line(call, tmp_path, name):
  (tmp_path / "folder").mkdir()
  path = tmp_path / name if name not in ("", "/dev/null") else name
  _is_refused(call(f"--config={path}"), "--config")


@pytest.mark.parametrize(
    "name, named",
    [
        ("nothing", "nothing"),
        ("Steady", "Steady"),
        ("steady,nothing", "nothing"),
        ("none.such:NAME", "ModuleNotFoundError"),
        ("tests.launch.stub:NOTHING", "AttributeError"),
        ("tests.launch.stub:SLEEP", "AttributeError"),
        ("tests.launch.broken:NAME", "OSError: first second"),
        ("tests.launch.stub:FORMLESS", "featured"),
        ("tests.launch.stub:MISFEATURED", "expected some of the forms direct"),
        ("all,nothing", "nothing"),
    ],
)
def test_a_mechanism_that_is_not_there_is_one_line(call, tmp_path, name, named):
  outcome = call(f"--config.mechanisms={name}", f"--out={tmp_path / 'out'}")
  _is_refused(outcome, "--config.mechanisms")
  assert not (tmp_path / "out").exists()
  assert named in outcome.errors and "steady" in outcome.errors


@pytest.mark.parametrize(
    "form", ["nothing", "wrong.direct", "steady.nothing", "direct,nothing"]
)
def test_a_form_that_is_not_there_is_one_line(call, tmp_path, form):
  outcome = call(f"--config.forms={form}", f"--out={tmp_path / 'out'}")
  _is_refused(outcome, "--config.forms")
  assert "steady.direct, steady.chunked" in outcome.errors


@pytest.mark.parametrize(
    "arguments, flag",
    [
        (["stray"], "'stray'"),
        (["--config.lengths=abc"], "--config.lengths"),
        (["--config=none.py"], "--config"),
        (["--worker=3/2"], "--worker"),
        (["--config.mechanisms=nothing"], "--config.mechanisms"),
        (["--config.width=\udcff"], "--config.width"),
    ],
)
def test_a_process_of_its_own_refuses_in_the_same_way(
    start, tmp_path, arguments, flag
):
  process = start(*arguments)
  out, errors = process.communicate(timeout=60)
  assert process.returncode == 2
  assert out == ""
  assert errors.count("\n") == 1 and f"{flag}: expected " in errors


def test_there_are_more_than_two_hundred_malformed_cases():
  assert len(_FIELDS) + len(_OTHERS) + len(_FILES) > 200


@pytest.mark.parametrize("kind", ["file", "folder", "folder of nothing"])
def test_a_corpus_without_a_byte_is_refused(call, tmp_path, kind):
  corpus = tmp_path / "corpus"
  if kind == "file":
    corpus.write_text("")
  else:
    corpus.mkdir()
  if kind == "folder of nothing":
    (corpus / "empty").write_text("")
  _is_refused(call(f"--config.corpus={corpus}"), "--config.corpus")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(call, tmp_path):
  tmp_path.chmod(0o500)
  for arguments in ([], ["--dry_run"]):
    _is_refused(call(f"--out={tmp_path / 'out'}", *arguments), "--out")
