#!/usr/bin/env bash
# Checks and measures matgen on a GPU machine that has no network, in one go of at most ten minutes.
#
#   scripts/gpu_check.sh pack [3.12]          where there is a network: put what such a machine lacks into .gpu_check/,
#                                             for that version of Python
#   scripts/gpu_check.sh [--device cuda] [--out FOLDER] [--short | --quick] [--seconds 570]
#                                             there: unpack it, run `pytest -m gpu`, measure, write gpu_check.md
#
# The machine needs PyTorch, e3nn, torch-geometric, scipy, pandas, pyarrow, safetensors, joblib, typer, rich and pytest.
# .gpu_check/ adds CHGNet, pymatgen, ASE, moyopy, spglib, SMACT, vesin and torch-pme, without what they do not need here; RDKit and
# tblite, which only molecules need, would take 39 MB: --with-molecules packs them, otherwise molecules are left out.
# FOLDER is $OUT, or .gpu_check/out. Every step has a process and a time limit of its own: one that fails is told in
# the table, and the rest go on. The tests run side by side, the measurements one after another, while the next ones are
# already imported. `--short` measures less, in about four minutes; `--device cpu --quick` tries all this without a GPU.
set -u
cd "$(dirname "$0")/.." || exit
PYTHON=${PYTHON:-python3}
PACK=.gpu_check

needed=(chgnet pymatgen pymatgen-core ase spglib moyopy smact vesin torch-pme
    monty ruamel.yaml uncertainties palettable orjson nvidia-ml-py3)
of_molecules=(rdkit tblite posebusters)

pack() {
    local version=3.12 names=("${needed[@]}") site=$PACK/site platform platforms=() name
    for name in "$@"; do
        case $name in
            --with-molecules) names+=("${of_molecules[@]}") ;;
            3.*) version=$name ;;
            *) echo "expected a version such as 3.12, or --with-molecules, got $name" >&2; return 2 ;;
        esac
    done
    for platform in manylinux_2_{39,34,31,28,27,17}_x86_64 manylinux2014_x86_64 manylinux1_x86_64 any; do
        platforms+=(--platform "$platform")
    done
    rm -rf "$PACK" && mkdir -p "$site" || return
    for name in "${names[@]}"; do
        # Without what it depends on, so that no second torch comes along.
        name=$(grep -i "^$name==" constraints.txt || echo "$name")
        "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version "$version" \
            "${platforms[@]}" --dest "$PACK/wheels" "$name" 2>"$PACK/log" ||
            "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$PACK/wheels" "$name" 2>>"$PACK/log" ||
            { cat "$PACK/log" >&2; echo "cannot fetch $name for Python $version" >&2; return 1; }
    done
    for name in "$PACK"/wheels/*.whl; do "$PYTHON" -m zipfile -e "$name" "$site" || return; done
    # What nothing here reads.
    rm -rf "$site"/chgnet/pretrained/{0.2.0,r2scan} "$site"/ase/{test,gui} "$site"/*.data "$site"/build \
        "$site"/pymatgen/symmetry/symm_data_magnetic.sqlite "$site"/pymatgen/symmetry/symm_ops.yaml \
        "$site"/pymatgen/io/vasp/potcar-summary-stats.json.bz2 "$site"/smact/data/species_rep
    find "$site" \( -name tests -o -name __pycache__ \) -type d -prune -exec rm -rf {} +
    find "$site" -name '*.pyi' -delete
    "$PYTHON" -c '
import sys, torch  # without the state of the optimizer
for path in sys.argv[1:]:
    torch.save({"model": torch.load(path, map_location="cpu", weights_only=False)["model"]}, path)
' "$site"/chgnet/pretrained/*/*.tar || return
    XZ_OPT=-9e tar -C "$site" -cJf "$PACK/site.tar.xz" . && rm -rf "$site" "$PACK/wheels" "$PACK/log" || return
    molecules_table || echo "no table of molecules: their trainings will be skipped" >&2
    local tree carried
    tree=$(git ls-files -z | xargs -0 stat -c %s | awk '{ n += $1 } END { print n }')
    carried=$(find "$PACK" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
    awk -v t="$tree" -v c="$carried" -v p="$PACK" 'BEGIN { printf "%s holds %.1f MiB; with the %.1f MiB of the tree, %.1f MiB are carried\n", p, c/2^20, t/2^20, (c+t)/2^20 }'
}

# A small table of molecules, so that networks for molecules are trained where RDKit is absent.
molecules_table() {
    PYTHONPATH=.:tests "$PYTHON" -c "
from pathlib import Path
from test_molecule_training import table
table().save(Path('$PACK/molecules.npz'))"
}

# Seconds that a step may take: what it asks for, within what is left of all; ten times as long on a CPU.
limit() {
    local left=$((LIMIT - SECONDS))
    if [ "$DEVICE" = cpu ]; then echo $((10 * $1)); else echo $(($1 < left ? $1 : (left > 1 ? left : 1))); fi
}

row() { # step, figure, how
    "$PYTHON" -c 'import json, sys; print(json.dumps(dict(zip(("step", "figure", "how"), sys.argv[1:]))))' "$@" \
        >>"$OUT_DIR/rows.jsonl"
}

unpacked() {
    [ -f "$PACK/site.tar.xz" ] || { echo "no $PACK/site.tar.xz: packages as installed" >&2; return; }
    SITE=$(mktemp -d) && "$PYTHON" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
        "$PACK/site.tar.xz" "$SITE"
    # Once for all steps; warnings of others' source would be errors in the tests.
    "$PYTHON" -W ignore -m compileall -q -j 0 "$SITE" >/dev/null
    export MATGEN_TEST_MOLECULES=$PWD/$PACK/molecules.npz
}

law() { # a file of tests; further options
    local log status marks=gpu
    log=$OUT_DIR/$(basename "$1" .py).log
    [ "$DEVICE" = cpu ] && marks="not gpu and not slow"
    timeout "$(limit 150)" "$PYTHON" -m pytest -p shared.stand_ins -q -n 0 -rfEs -W default -m "$marks" --durations=5 \
        "$@" >"$log" 2>&1
    status=$?
    row "tests" "$(grep -E '^[0-9]+ (passed|failed|skipped|error)|(passed|failed|error).* in ' "$log" | tail -1)" \
        "$1 -m \"$marks\", exit status $status; failed: $(grep -E "^(FAILED|ERROR|tests/.*Error)" "$log" | cut -c1-120 | tr '\n' ';')"
}

laws() {
    local file files pids=()
    # The fixture `device` of conftest.py holds the mark for the files that use it.
    files=$(grep -lE 'mark\.gpu|device: str' tests/test_*.py)
    [ "$DEVICE" = cpu ] && files="tests/test_gpu.py tests/test_relax_batch.py"
    for file in $files; do
        if [ "$DEVICE" = cpu ]; then law "$file" -k cpu; else law "$file" & fi
        pids+=($!)
    done
    [ "$DEVICE" = cpu ] || wait "${pids[@]}"
}

declare -A BEGUN=()

begin() { # steps: they are imported, and wait
    local name
    for name in "$@"; do
        rm -f "$OUT_DIR/.$name"
        "$PYTHON" scripts/benchmarks/measure_gpu.py "$name" --device "$DEVICE" --out "$OUT_DIR" --size "$SIZE" \
            --after "$OUT_DIR/.$name" >"$OUT_DIR/$name.log" 2>&1 &
        BEGUN[$name]=$!
    done
}

step() { # a step that has begun; seconds that it may take
    local pid=${BEGUN[$1]} until status=0
    until=$((SECONDS + $(limit "$2")))
    touch "$OUT_DIR/.$1"
    while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $until ]; do sleep 0.2; done
    kill "$pid" 2>/dev/null
    wait "$pid" || status=$?
    rm -f "$OUT_DIR/.$1"
    [ $status -eq 0 ] || row "$1" "failed" "exit status $status: $(tail -n 1 "$OUT_DIR/$1.log" | cut -c1-300)"
}

if [ "${1:-}" = pack ]; then
    shift
    pack "$@"
    exit
fi

DEVICE=cuda OUT_DIR=${OUT:-$PACK/out} SIZE=full SITE="" LIMIT=570
while [ $# -gt 0 ]; do
    case $1 in
        --device) DEVICE=${2:?expected a device after --device}; shift ;;
        --out) OUT_DIR=${2:?expected a folder after --out}; shift ;;
        --short | --quick) SIZE=${1#--} ;;
        --seconds) LIMIT=${2:?expected a number after --seconds}; shift ;;
        *) echo "expected pack, --device, --out, --short, --quick or --seconds, got $1" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$OUT_DIR" && rm -f "$OUT_DIR/rows.jsonl" && touch "$OUT_DIR/rows.jsonl" || exit
unpacked
export PYTHONPATH=$PWD:$PWD/scripts/benchmarks:$PWD/tests:$SITE PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
"$PYTHON" -c "import torch; from matgen.runtime.devices import find_device; print(find_device('$DEVICE'))" || exit
trap 'kill "${BEGUN[@]}" 2>/dev/null' EXIT
last=(train_tf32)
[ "$SIZE" = short ] && last=()
begin train neighbours shape relax design "${last[@]}"
laws
step train 60
step neighbours 60
step shape 120
step relax 120
step design 130
for name in "${last[@]}"; do step "$name" 60; done
{
    echo "# matgen on $DEVICE, $SIZE sizes"
    echo
    "$PYTHON" scripts/benchmarks/measure_gpu.py table --device "$DEVICE" --out "$OUT_DIR"
} >"$OUT_DIR/gpu_check.md"
[ -n "$SITE" ] && rm -rf "$SITE"
cat "$OUT_DIR/gpu_check.md"
