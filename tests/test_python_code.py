"""The mark of Python code behind a callback: it changes with the code, not with the process."""

import functools
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import threading

import numpy as np

from gainjax.runs.python_code import code_mark

CODE = """
import functools, numpy as np
NAMES = {"b", "a", "c", "d"}
SCALE = 2.0
def helper(x, by={"k": (1, 2)}):
    return x * SCALE + by["k"][0] + len(NAMES & {"a", "q", "z"})
class Shift:
    def __init__(self, by):
        self.by = by
    def __call__(self, x):
        return helper(np.rot90(x)) + self.by
def make(array):
    def inner(x):
        return [helper(v + array) for v in x if inner]
    return inner
partial = functools.partial(helper, by={"k": (3,)})
"""


def test_python_code_is_told_by_what_it_computes(tmp_path):
    def marks(code=CODE, array=(1.0, 2.0)):
        where = {"__name__": "mine"}
        exec(compile(code, "mine.py", "exec"), where)
        made = where["make"](np.array(array))
        found = [where["helper"], where["Shift"](3), where["Shift"](3).__call__, made]
        return [code_mark(f).hex()[:16] for f in (*found, where["partial"], np.rot90, np.abs, len)]

    same = marks()
    assert len(set(same)) == 8
    assert marks() == marks("\n\n" + CODE) == same  # wherever it stands
    script = tmp_path / "mine.py"  # in a process in which sets have another order
    script.write_text(
        f"import numpy as np\nfrom gainjax.runs.python_code import code_mark\nCODE = {CODE!r}\n"
        + textwrap.dedent(inspect.getsource(marks))
        + "print(*marks())\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == same

    def changed(*what):
        return [i for i, (a, b) in enumerate(zip(same, marks(*what), strict=True)) if a != b]

    ours = [0, 1, 2, 3, 4]  # all of them call the helper
    assert changed(CODE.replace("SCALE = 2.0", "SCALE = 3.0")) == ours
    assert changed(CODE.replace("x * SCALE", "x / SCALE")) == ours
    assert changed(CODE.replace("(1, 2)", "(1, 3)")) == ours
    assert changed(CODE.replace('"d"', '"e"')) == ours
    assert changed(CODE.replace("+ self.by", "- self.by")) == [1, 2]
    assert changed(CODE.replace("= by", "= -by")) == [1, 2]
    assert changed(CODE.replace("(3,)", "(4,)")) == [4]
    assert changed(CODE, (1.0, 3.0)) == [3]


# Each is a file with a function `host`, once with 2 and once with 3 for @; after "---" a module
# "helper" that it may import.
KINDS = {
    # Made by a library from one's own code and numbers.
    "vmap": "import jax\nhost = jax.vmap(lambda x: x * @)",
    "grad": "import jax\nf = jax.grad(lambda x: x * @)\ndef host(x): return f(x)",
    "jit": "import jax\nf = jax.jit(lambda x: x * @)\ndef host(x): return f(x)",
    "schedule": "import optax\ns = optax.exponential_decay(@, 9, 1)\ndef host(x): return x * s(0)",
    "decorated": "import numpy as np\n@np.errstate(all='ignore')\ndef host(x): return x * @",
    "context": "import contextlib\n@contextlib.contextmanager\ndef c(): yield @\n"
    "def host(x):\n    with c() as k: return x * k",
    "dispatched": "import functools\n@functools.singledispatch\ndef host(x): return x\n"
    "@host.register\ndef _(x: float): return x * @",
    "ufunc of one's own": "import numpy as np\nhost = np.frompyfunc(lambda x: x * @, 1, 1)",
    "partial": "import functools\ndef f(x, k): return x * k\nhost = functools.partial(f, k=@)",
    "wrapped partial": "import functools\ndef f(x, k): return x * k\n"
    "host = functools.update_wrapper(functools.partial(f, k=@), f)",
    "linen": "import flax.linen as nn\nclass M(nn.Module):\n    @nn.compact\n"
    "    def __call__(self, x): return x * @\nm = M()\ndef host(x): return m.apply({}, x)",
    # Named by a library.
    "ufunc": "import numpy as np\nf = {2: np.sin, 3: np.cos}[@]\ndef host(x): return f(x)",
    "pattern": "import re\np = re.compile('@')\ndef host(x): return p.match(x)",
    # In modules of one's own, however they are reached.
    "import inside": "def host(x):\n    import helper\n    return x * helper.K\n---\nK = @",
    "from inside": "def host(x):\n    from helper import K\n    return x * K\n---\nK = @",
    "module given": "import helper\ndef g(m): return m.K\ndef host(x): return x * g(helper)"
    "\n---\nK = @",
    "default": "import helper\ndef host(x, m=helper): return x * m.K\n---\nK = @",
    "attribute": "import helper\nclass C: m = helper\ndef host(x): return x * C.m.K\n---\nK = @",
    "getattr": "import helper\ndef host(x): return x * getattr(helper, 'K')\n---\nK = @",
    "chain": "import helper\ndef host(x): return helper.os.f(x)\n---\nimport types\n"
    "os = types.ModuleType('os_')\nos.f = lambda x: x * @",
    # That cannot be pickled, or pickle something else.
    "mapping": "import types\nm = types.MappingProxyType({'k': @})\ndef host(x): return m['k']",
    "generator": "def g():\n    while True: yield @\ng = g()\ndef host(x): return next(g)",
    "reference": "import weakref\nclass C: k = @\nr = weakref.ref(C)\ndef host(x): return r().k",
    "local": "import threading\nt = threading.local()\nt.k = @\ndef host(x): return t.k",
    "unwilling": "class C:\n    def __reduce_ex__(self, p): raise TypeError\n"
    "c = C()\nc.k = @\ndef host(x): return c.k",
    "silent": "class C:\n    def __getstate__(self): return {}\nc = C()\nc.k = @\n"
    "def host(x): return c.k",
    # Subclasses of what Python has built in.
    **{
        f"subclass of {base}": f"class P({base}):\n    def f(self): return @\np = P({given})\n"
        "def host(x): return p.f()"
        for base, given in (("dict", ""), ("list", ""), ("float", "1"), ("tuple", ""), ("str", ""))
    },
    "enum": "import enum\nclass P(enum.IntEnum):\n    A = 1\n    def f(self): return @\n"
    "def host(x, p=P.A): return p.f()",
    "default factory": "import collections\nd = collections.defaultdict(lambda: @)\n"
    "def host(x): return d[0]",
    "mask": "import numpy as np\nm = np.ma.array([1, 2], mask=[0, @ - 2])\ndef host(x): return m",
    "array of objects": "import numpy as np\nfrom fractions import Fraction\n"
    "a = np.array([(1, Fraction(@))], [('a', int), ('b', object)])\ndef host(x): return a",
    "array of text": "import numpy as np\na = np.array(['@' * 40], np.dtypes.StringDType())\n"
    "def host(x): return a",
    # Attributes, metaclasses, parameters.
    "function attribute": "def host(x): return x * host.k\nhost.k = @",
    "wrapper": "import functools\nclass D:\n    def __init__(self, f, k):\n        self.k = k\n"
    "        functools.update_wrapper(self, f)\n    def __call__(self, x): return x * self.k\n"
    "host = D(lambda x: x, @)",
    "metaclass": "class M(type):\n    def f(cls): return @\nclass C(metaclass=M): pass\n"
    "def host(x): return C.f()",
    "class constant": "class C: __k__ = @\ndef host(x): return C.__k__",
    "parameters": "f = (None, None, lambda a, b: a - b, lambda b, a: b - a)[@]\n"
    "def host(x): return f(a=x, b=1)",
    # Sets, whose order depends on the process.
    "set of objects": "class C:\n    def __init__(self, k): self.k = k\n"
    "S = {C(k) for k in range(9)}\ndef host(x): return len(S) + @",
    "set of functions": "def h(x): return x + @\ndef a(x): return h(x)\ndef b(x): return h(x) * 2\n"
    "S = {a, b, lambda x: h(x) * 3}\ndef host(x): return sum(f(x) for f in S)",
    "set of classes": "class B: k = @\nS = {type(n, (B,), {}) for n in 'abcdefg'}\n"
    "def host(x): return sum(f.k for f in S)",
}
MARKS = """
import json, os, sys
from gainjax.references import imported
from gainjax.runs.python_code import code_mark
found = {}
for name in json.loads(sys.argv[2]):
    for k in "23":
        folder = os.path.join(sys.argv[1], name, k)
        sys.path.insert(0, folder)
        host = imported("function", os.path.join(folder, "mine.py:host"))
        found[f"{name} {k}"] = code_mark(host).hex()
        sys.path.remove(folder)
        sys.modules.pop("helper", None)
json.dump(found, sys.stdout)
"""


def test_no_change_goes_unnoticed_and_no_process_gives_another_mark(tmp_path):
    files = []
    for name, source in KINDS.items():
        for k in "23":
            folder = tmp_path / name / k
            folder.mkdir(parents=True)
            for file, text in zip(("mine.py", "helper.py"), source.split("---"), strict=False):
                (folder / file).write_text(re.sub("@(?![a-z])", k, text))
                files.append(folder / file)
    found = []
    for seed in "17":
        for file in files:
            os.utime(file, (0, int(seed)))  # as after a checkout
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", MARKS, tmp_path, json.dumps(list(KINDS))]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(told.stdout))
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert [name for name in KINDS if found[0][f"{name} 2"] == found[0][f"{name} 3"]] == []


def test_what_a_mark_cannot_tell():
    """As its documentation says: other sources, state that changes, the order of entries."""
    calls = []

    def counting(x):
        calls.append(x)
        return x

    before = code_mark(counting)
    counting(1)
    assert code_mark(counting) != before

    def reading(x):
        return x * len(os.environ["HOME"])

    before = code_mark(reading)
    os.environ["HOME"], home = "elsewhere", os.environ["HOME"]
    assert code_mark(reading) == before
    os.environ["HOME"] = home
    first, other = (dict.fromkeys(names, 1) for names in ("ab", "ba"))
    assert code_mark(lambda x: first[x]) != code_mark(lambda x: other[x])


def test_caches_locks_and_depth_do_no_harm():
    cached, lock = functools.cache(lambda x: x + 1), threading.Lock()

    def locked(x):
        with lock:
            return cached(x)

    before = code_mark(locked)
    locked(1)
    assert code_mark(locked) == before
    deep = []
    for _ in range(10_000):
        deep = [deep]
    code_mark(lambda x: deep)
