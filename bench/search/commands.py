"""The commands that start engines, and what they need."""

import shutil
import subprocess
from pathlib import Path

from bench.harness.environment import InstallError, interpreter_of
from bench.search.catalogue import Engine
from bench.search.debian import SourceError, fetch

_REQUIREMENTS = Path(__file__).parent / "requirements"
_LUCENE = Path(__file__).parent / "lucene"
_LUCENE_PACKAGE = "liblucene9-java"
_LEAST_JAVA = 21  # what Debian's Lucene is compiled for
_JAVA = (
    "-Xms2g",
    "-Xmx2g",
    # Debian's jar leaves out the classes that read by MemorySegment; ByteBuffers do it.
    "-Dorg.apache.lucene.store.MMapDirectory.enableMemorySegments=false",
)


class MissingError(Exception):
    """An engine is not available on this machine; says why."""


def command_of(engine: Engine, cache: Path) -> list[str]:
    """The program and its first arguments; those of the task and the engine follow.

    Raises:
        MissingError: it is not available.
    """
    if engine.module == "lucene":
        return _lucene(cache)
    try:
        python = interpreter_of(engine.environment, _REQUIREMENTS, cache / "environments")
    except InstallError as error:
        raise MissingError(str(error)) from error
    return [str(python), "-m", f"bench.search.inside.{engine.module}"]


def options_of(engine: Engine) -> list[str]:
    """The engine's options, including those that depend on this machine.

    Raises:
        MissingError: its server is not installed.
    """
    if engine.module == "postgresql":
        return [str(_postgresql()), *engine.options]
    return list(engine.options)


def _postgresql() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]),
    )
    if not found:
        raise MissingError("no server is installed (Debian's package postgresql brings it)")
    return found[-1].parent


def _lucene(cache: Path) -> list[str]:
    java = _java()
    try:
        files, _ = fetch(_LUCENE_PACKAGE, cache)
    except SourceError as error:
        raise MissingError(f"Debian's {_LUCENE_PACKAGE} cannot be had: {error}") from error
    jars = sorted((files / "usr/share/java").glob("lucene9-*.jar"))
    if not jars:
        raise MissingError(f"Debian's {_LUCENE_PACKAGE} has no jar where it was expected")
    classes = cache / "lucene-classes"
    shutil.rmtree(classes, ignore_errors=True)
    compiler = [str(java.parent / "javac"), "-nowarn", "-d", str(classes), "-cp", str(jars[0])]
    done = subprocess.run(
        [*compiler, str(_LUCENE / "Search.java")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingError(f"the Java class does not compile: {done.stderr.strip()[:300]}")
    # The jar has no META-INF/services, by which Lucene finds its codec: they are beside the class.
    path = ":".join(map(str, (jars[0].absolute(), classes.absolute(), _LUCENE)))
    return [str(java), *_JAVA, "-cp", path, "Search"]


def _java() -> Path:
    """A Java runtime that is new enough, and has its compiler."""
    homes = {path.resolve() for path in Path("/usr/lib/jvm").glob("*/bin/javac")}
    if found := shutil.which("javac"):
        homes.add(Path(found).resolve())
    for compiler in sorted(homes):
        said = subprocess.run([compiler, "-version"], capture_output=True, text=True, check=False)
        version = (said.stdout or said.stderr).split()[-1:]
        if version and int(version[0].split(".")[0]) >= _LEAST_JAVA:
            return compiler.parent / "java"
    raise MissingError(f"no Java {_LEAST_JAVA} or newer, with its compiler, is installed")
