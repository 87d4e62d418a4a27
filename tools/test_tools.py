#!/usr/bin/env python3
"""Tests of convert_weights.py, fetch_models.py and their readers, on files of a few tensors that are made here.

python3 tools/test_tools.py

Needs no network once the packages of convert_weights.py are in target/.sepconv-venv.
"""

import collections
import io
import json
import os
import pathlib
import pickle
import re
import struct
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
import zipfile

TOOLS = pathlib.Path(__file__).resolve().parent
ROOT = TOOLS.parent
sys.path.insert(0, str(TOOLS))  # `python -I` leaves it out

os.environ["TQDM_DISABLE"] = "1"  # before tqdm is imported
import convert_weights
import fetch_models
import fit_cost

# What makes a state dict MobileNet V2's, at width 1 with 7 classes.
MOBILENET_V2 = {
    "features.2.conv.0.0.weight": (96, 16, 1, 1),
    "features.17.conv.2.weight": (320, 2, 1, 1),
    "classifier.1.weight": (7, 2),
    "classifier.1.bias": (7,),
}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.output = self.folder / "out.safetensors"

    def run_tool(self, *arguments, python=sys.executable, **options):
        """Status, and all that the program says."""
        command = [python, *map(str, arguments)]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        return done.returncode, done.stdout

    def pickled(self, value):
        path = self.folder / "in.pkl"
        path.write_bytes(pickle.dumps(value, protocol=2))
        return path

    def state(self, shapes=MOBILENET_V2, **more):
        import numpy as np

        return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()} | more

    def converted(self, source, **options):
        return convert_weights.convert(source, self.output, **options)

    def written(self):
        from safetensors.numpy import load_file

        return load_file(self.output)

    def assert_refused(self, source, text, **options):
        with self.assertRaisesRegex(ValueError, text) as caught:
            self.converted(source, **options)
        self.assertNotIn("damaged", str(caught.exception))
        self.assertFalse(self.output.exists())


class Options(Case):
    def test_numbers_and_names_are_checked(self):
        source = self.pickled(self.state())
        for option, value, text in [
            ("resolution", "-5", "resolution -5: expected 1 to 8192"),
            ("resolution", "8193", "resolution 8193"),
            ("resolution", "9" * 400, "expected 1 to 8192"),
            ("width", "nan", "width nan: expected more than 0, at most 16"),
            ("width", "0", "width 0.0"),
            ("width", "inf", "width inf"),
            ("width", "16.01", "width 16.01"),
            ("classes", "0", "classes 0: expected 1 to 1048576"),
            ("classes", "1048577", "classes 1048577"),
            ("bn-eps", "1", "bn_eps 1.0: expected at least 0, less than 1: give --bn-eps"),
            ("bn-eps", "-1e-9", "bn_eps -1e-09"),
            ("network", "resnet", "'resnet' (choose from"),
            ("groups", "5", "groups 5: expected 1, 2, 3, 4 or 8: give --groups"),
            ("preprocess", "bgr", "'bgr' (choose from"),
        ]:
            with self.subTest(option=option, value=value):
                arguments = [TOOLS / "convert_weights.py", source, self.output, f"--{option}={value}"]
                status, said = self.run_tool(*arguments)
                self.assertEqual(status, 2, said)
                self.assertIn(text, said)
                self.assertNotIn("Traceback", said)
                self.assertFalse(self.output.exists())

    def test_the_largest_and_smallest_are_taken(self):
        source = self.pickled(self.state())
        for given in [
            {"width": "16", "resolution": "8192", "classes": "1048576", "bn_eps": "0.999"},
            {"width": "0.01", "resolution": "1", "classes": "1", "bn_eps": "0.0"},
        ]:
            convert_weights.check(given)
            self.converted(source, given=given)
            header = self.output.read_bytes()[8:2000]
            for key, value in given.items():
                self.assertIn(f'"sepconv.{key}":"{value}"'.encode(), header)

    def test_numbers_of_the_source_are_checked_too(self):
        wide = MOBILENET_V2 | {"features.17.conv.2.weight": (32000, 1, 1, 1)}
        self.assert_refused(self.pickled(self.state(wide)), "width 100.0: expected .* at most 16: give --width")
        self.converted(self.pickled(self.state(wide)), given={"width": "2"})

    def test_choices_are_the_librarys(self):
        def names(path, kind):
            return re.findall(kind + r'::\w+ => "(\w+)"', (ROOT / path).read_text())

        self.assertEqual(convert_weights.NETWORKS, names("src/models/config.rs", "Architecture"))
        self.assertEqual(convert_weights.FLAVORS, names("src/models/config.rs", "Flavor"))
        self.assertEqual(list(convert_weights.RECIPES), names("examples/common/preprocess/mod.rs", "Self"))

    def test_output_is_neither_source_nor_folder(self):
        source = self.pickled(self.state())
        before = source.read_bytes()
        for output, text in [(source, "found the source"), (self.folder, "found a folder")]:
            with self.assertRaisesRegex(ValueError, text):
                convert_weights.convert(source, output)
        self.assertEqual(source.read_bytes(), before)


class StateDicts(Case):
    def test_what_is_left_out_is_named(self):
        import numpy as np

        counters = {f"features.{i}.num_batches_tracked": np.array(5) for i in range(3)}
        state = self.state(**counters) | {"note": "trained twice"}
        said = self.converted(self.pickled({"state_dict": state, "epoch": 7, "optimizer": {"lr": 0.1}}))
        self.assertIn("left out: epoch, optimizer, num_batches_tracked (3), note", said)
        self.assertEqual(self.written().keys(), MOBILENET_V2.keys())

    def test_nothing_left_out_is_nothing_said(self):
        self.assertNotIn("left out", self.converted(self.pickled(self.state())))

    def test_a_classifier_left_out_is_named(self):
        said = self.converted(self.pickled(self.state()), backbone=True)
        self.assertIn("left out: weight, bias", said)
        self.assertEqual(self.written().keys(), {name for name in MOBILENET_V2 if "classifier" not in name})

    def test_a_head_of_any_name_is_left_out(self):
        """Several dense layers, beside the classifier or in its place."""
        head = {"head.0.weight": (5, 2), "head.0.bias": (5,), "classifier.4.weight": (3, 7)}
        said = self.converted(self.pickled(self.state(MOBILENET_V2 | head)), backbone=True)
        self.assertIn("left out: weight (3), bias (2)", said)
        self.assertEqual(self.written().keys(), {name for name in MOBILENET_V2 if "features" in name})

    def test_what_cannot_be_converted_is_an_error(self):
        tensor = self.state()["classifier.1.bias"]
        for value, text in [
            (self.state(head={"weight": tensor}), "'head', found a dict"),
            (self.state(head=[tensor, tensor, tensor]), "'head', found a list"),
            (self.state(head=[tensor, [tensor]]), "'head/bias', found a list"),
            ({"state_dict": self.state(), "head": tensor}, "inside 'state_dict', found 'head' beside"),
            (self.state() | {"conv": [tensor], "conv/kernel": tensor}, "one tensor of the name conv/kernel"),
        ]:
            with self.subTest(text=text):
                self.assert_refused(self.pickled(value), text)

    def test_shufflenets_and_squeezenets_are_known_by_their_names(self):
        for shapes, facts in [
            (
                {"features.6.squeeze.weight": (16, 2, 1, 1), "classifier.1.bias": (9,)},
                "classes 9, flavor torch, network squeezenet_1_1, preprocess torchvision",
            ),
            (
                {"stage2.0.branch2.0.weight": (88, 24, 1, 1), "fc.bias": (9,)},
                "classes 9, flavor torch, network shufflenet_v2, preprocess torchvision2, width 1.5",
            ),
            (
                {"features.0.branch_main.0.weight": (58, 24, 1, 1), "classifier.0.weight": (9, 1024)},
                "classes 9, flavor megvii, network shufflenet_v2, preprocess megvii, width 1.0",
            ),
            (
                {"features.0.branch_main_1.0.weight": (60, 24, 1, 1), "classifier.0.weight": (9, 960)},
                "classes 9, flavor megvii, network shufflenet_v1, preprocess megvii",
            ),
            (
                {"fire2/squeeze1x1/kernel": (1, 1, 96, 16), "conv1/kernel": (7, 7, 3, 96), "conv10/bias": (9,)},
                "classes 9, flavor caffe, network squeezenet_1_0, preprocess caffe",
            ),
        ]:
            with self.subTest(facts=facts):
                said = self.converted(self.pickled(self.state(shapes)))
                said = re.sub("(activation|bn_eps) [^,]*, ", "", said.partition("; ")[2])
                self.assertEqual(said, facts)


class Checkpoints(Case):
    def test_the_zip_format_is_read(self):
        """Written as torch.save does, with stand-ins for its types."""
        torch = types.ModuleType("torch")
        utils = types.ModuleType("torch._utils")
        torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

        def rebuild(*_arguments):
            raise AssertionError("only named in the pickle")

        rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
        utils._rebuild_tensor_v2 = rebuild
        storage = torch.FloatStorage()

        class Tensor:
            def __reduce__(self):
                return rebuild, (storage, 1, (3, 2), (1, 3), False, collections.OrderedDict())

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                return ("storage", torch.FloatStorage, "0", "cpu", 7) if value is storage else None

        data = io.BytesIO()
        with unittest.mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
            Pickler(data, protocol=2).dump({"weight": Tensor()})
        source = self.folder / "in.pth"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("in/data.pkl", data.getvalue())
            archive.writestr("in/data/0", struct.pack("<7f", *range(7)))
        self.converted(source)
        self.assertEqual(self.written()["weight"].tolist(), [[1, 4], [2, 5], [3, 6]])


class Keras(Case):
    def keras(self, arrays, layers=("Conv2D",)):
        """A .keras file with these layers in a row and these arrays by place."""
        import h5py

        entries = [{"class_name": kind, "config": {"name": f"l{i}"}} for i, kind in enumerate(layers)]
        weights = self.folder / "model.weights.h5"
        with h5py.File(weights, "w") as file:
            for place, shape in arrays.items():
                file.create_dataset(place, shape, "<f4")
        source = self.folder / "in.keras"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": entries}}))
            archive.write(weights, "model.weights.h5")
        return source

    CONV = {"layers/conv2d/vars/0": (3, 3, 2, 4), "layers/conv2d/vars/1": (4,)}

    def test_optimiser_and_seeds_are_left_out_by_name(self):
        more = {"optimizer/vars/0": (4,), "optimizer/vars/1": (4,), "layers/dropout/seed_generator/vars/0": (2,)}
        said = self.converted(self.keras(self.CONV | more, ("Conv2D", "Dropout")))
        self.assertIn("left out: seed_generator, optimizer (2)", said)
        self.assertEqual(self.written().keys(), {"l0/kernel", "l0/bias"})

    def test_a_layer_of_another_kind_is_an_error(self):
        source = self.keras(self.CONV | {"layers/p_re_lu/vars/0": (4,)}, ("Conv2D", "PReLU"))
        self.assert_refused(source, "found layers/p_re_lu/vars/0, which cannot be converted")

    def test_what_until_cuts_off_is_named(self):
        source = self.keras(
            self.CONV | {"layers/dense/vars/0": (4, 5), "layers/dense/vars/1": (5,)}, ("Conv2D", "Dense")
        )
        self.assertIn("left out: dense (2)", self.converted(source, until="l0"))
        self.assertEqual(self.written().keys(), {"l0/kernel", "l0/bias"})

    def named(self, weights, more=()):
        """A weights file of Keras 2: layer -> names of its arrays; `more` arrays that no layer names."""
        import h5py

        source = self.folder / "in.h5"
        with h5py.File(source, "w") as file:
            file.attrs["layer_names"] = list(weights)
            for layer, names in weights.items():
                file.create_group(layer).attrs["weight_names"] = names
                for name in names:
                    file[layer].create_dataset(name, (3, 3, 2, 4), "<f4")
            for place in more:
                file.create_dataset(place, (2,), "<f4")
        return source

    def test_named_layers_are_accounted_for(self):
        said = self.converted(
            self.named({"stem": ["stem/kernel:0"]}, ["optimizer_weights/m:0", "optimizer_weights/v:0"])
        )
        self.assertIn("left out: optimizer_weights (2)", said)
        self.assertEqual(self.written().keys(), {"stem/kernel"})
        self.output.unlink()
        self.assert_refused(self.named({"stem": ["stem/kernel:0"]}, ["top/scale:0"]), "found top/scale:0")
        twice = self.named({"both": ["forward/cell/kernel:0", "backward/cell/kernel:0", "both/bias:0"]})
        self.assert_refused(twice, "one kernel of layer cell, found two")

    def test_numbered_layers_are_accounted_for(self):
        import h5py

        source = self.folder / "in.weights.h5"
        with h5py.File(source, "w") as file:
            for place in ["layers/conv2d/vars/0", "layers/conv2d/vars/1", "optimizer/vars/0"]:
                file.create_dataset(place, (4,), "<f4")
        self.assertIn("left out: optimizer", self.converted(source))
        self.assertEqual(self.written().keys(), {"conv2d/kernel", "conv2d/bias"})
        self.output.unlink()
        with h5py.File(source, "a") as file:
            file.create_dataset("layers/p_re_lu/vars/0", (4,), "<f4")
        self.assert_refused(source, "found layers/p_re_lu/vars/0")


class Graphs(Case):
    def graph(self, *nodes):
        """A frozen graph of (name, operation, TensorFlow's number of the type) with two elements each."""
        import frozen_graphs

        graph = frozen_graphs.graph_class()()
        for name, operation, kind in nodes:
            node = graph.node.add(name=name, op=operation)
            value = node.attr.add(key="value").value.tensor
            value.dtype, value.content = kind, bytes(8)
            value.shape.dim.add(size=2)
        source = self.folder / "in.pb"
        source.write_bytes(graph.SerializeToString())
        return source

    def test_constants_are_accounted_for(self):
        weights = ("A/weights", "Const", 1)
        momenta = [(f"{scope}/weights/Momentum", "Const", 1) for scope in "AB"]
        said = self.converted(self.graph(weights, ("A/shape", "Const", 3), *momenta, ("A/out", "Relu", 1)))
        self.assertIn("left out: shape, Momentum (2)", said)
        self.assertEqual(self.written().keys(), {"A/weights"})
        self.output.unlink()
        for other, text in [
            (("B/weights", "Const", 12), "found B/weights of another type"),
            (("B/weights", "VariableV2", 1), "found B/weights, whose values are elsewhere"),
        ]:
            self.assert_refused(self.graph(weights, other), text)
        twins = [(f"{scope}/MobilenetV1/x/weights", "Const", 1) for scope in "AB"]
        self.assert_refused(self.graph(*twins), "one tensor of the name MobilenetV1/x/weights")

    def test_an_average_replaces_its_variable(self):
        average = "A/weights" + "/ExponentialMovingAverage"
        said = self.converted(self.graph(("A/weights", "Const", 1), (average, "Const", 1)))
        self.assertNotIn("left out", said)
        self.assertEqual(self.written().keys(), {"A/weights"})


class Environments(Case):
    def setUp(self):
        super().setUp()
        # The smallest package that pip installs: nothing is fetched.
        self.wheel = self.folder / "tiny-1-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("tiny.py", "")
            archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
            archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\nRoot-Is-Purelib: true\n")
            archive.writestr("tiny-1.dist-info/RECORD", "")
        self.program = self.folder / "program.py"
        self.program.write_text(
            f"import pathlib, sys\nsys.path.insert(0, {str(TOOLS)!r})\nfrom convert_weights import *\n"
            f"guarded(lambda: enter(pathlib.Path(ENVIRONMENT), [{str(self.wheel)!r}]))\nimport tiny\nprint(sys.prefix)\n"
        )
        # The user's own.
        self.own = self.folder / "venv"
        subprocess.run([sys._base_executable, "-m", "venv", "--without-pip", self.own], check=True)
        self.environment = self.folder / convert_weights.ENVIRONMENT

    def listing(self):
        return sorted((path, path.lstat().st_mtime_ns) for path in self.own.rglob("*"))

    def test_it_is_made_beside_the_users_own_and_in_an_active_one(self):
        before = self.listing()
        active = os.environ | {"VIRTUAL_ENV": str(self.own)}
        # Bare, then under the user's, which finds the environment made; then under the user's alone.
        for python, fresh in [
            (sys._base_executable, True),
            (self.own / "bin/python", False),
            (self.own / "bin/python", True),
        ]:
            if fresh and self.environment.exists():
                self.environment.rename(self.folder / "earlier")
            status, said = self.run_tool(self.program, python=str(python), cwd=self.folder, env=active)
            self.assertEqual((status, said.splitlines()[-1]), (0, str(self.environment)), said)
            self.assertEqual("Making" in said, fresh, said)
        self.assertEqual(self.listing(), before)

    def test_an_environment_of_the_users_is_never_filled(self):
        self.own.rename(self.environment)
        self.own = self.environment
        before = self.listing()
        for python in [sys._base_executable, self.own / "bin/python"]:
            status, said = self.run_tool(self.program, python=str(python), cwd=self.folder)
            self.assertEqual(status, 2, said)
            self.assertIn(f"{self.environment}: expected nothing there, or an environment of this program", said)
            self.assertEqual(self.listing(), before)

    def test_one_that_was_left_unfinished_is_finished(self):
        self.environment.mkdir()
        (self.environment / "packages.txt").touch()
        status, said = self.run_tool(self.program, python=sys._base_executable, cwd=self.folder)
        self.assertEqual((status, said.splitlines()[-1]), (0, str(self.environment)), said)


class Fetching(Case):
    def test_a_folder_is_expected(self):
        path = self.pickled(0)
        status, said = self.run_tool(TOOLS / "fetch_models.py", path)
        self.assertEqual((status, "expected a folder" in said), (2, True), said)

    def test_an_environment_of_the_users_is_never_filled(self):
        (self.folder / convert_weights.ENVIRONMENT / "bin").mkdir(parents=True)
        status, said = self.run_tool(TOOLS / "fetch_models.py", self.folder)
        self.assertEqual((status, "expected nothing there" in said), (2, True), said)
        self.assertEqual(len(list(self.folder.rglob("*"))), 2)

    def test_every_file_has_its_licence(self):
        said = fetch_models.licences()
        for source in fetch_models.SOURCES:
            self.assertIn(f"{', '.join(fetch_models.listed(source))}\n    from {source.package} (", said)
            self.assertIn(f"licence: {source.licence}", said)


class Costs(Case):
    """The fit of the cost model, on times that a model with other coefficients made."""

    TILES = [("pw_f32_6x16_avx2", 8, (12, 6)), ("pw_f32_4x24_avx2", 8, (10, 6, 4))]

    def shapes(self, c):
        made = []
        for m, k, n in [(12544, 32, 16), (3136, 144, 24), (784, 192, 32), (196, 512, 512), (49, 960, 160), (361, 728, 728)]:
            shape = fit_cost.Shape("a CPU", "avx2", False, 32 << 10, m, k, n, 1, ())
            tiles = [fit_cost.Tile(name, lanes, mr, 0.0) for name, lanes, mr in self.TILES]
            timed = tuple(fit_cost.dataclasses.replace(tile, us=m * fit_cost.units(tile, shape, c)) for tile in tiles)
            made.append(fit_cost.dataclasses.replace(shape, tiles=timed))
        return made

    def test_coefficients_are_found_again(self):
        shipped = fit_cost.coefficients()
        self.assertEqual(
            sorted(shipped),
            ["accumulators", "addresses", "double_pumped", "general_epilogue", "l1_panel", "l2_vectors", "loads", "single_vector"],
        )
        other = {**shipped, "loads": shipped["loads"] / 10, "single_vector": 3.0, "addresses": 40.0}
        shapes = self.shapes(other)
        before = fit_cost.regret(shapes, shipped)
        percent, error = fit_cost.regret(shapes, fit_cost.fit(shapes, shipped))
        self.assertGreater(before[1], 0.05)
        self.assertEqual(percent, 0.0)
        self.assertLess(error, before[1] / 4)

    def test_the_choice_counts(self):
        shape, c = self.shapes(fit_cost.coefficients())[0], fit_cost.coefficients()
        slow, fast = (fit_cost.dataclasses.replace(tile, us=us) for tile, us in zip(shape.tiles, (2.0, 1.0)))
        for tiles, lost in [((slow, fast), 100.0), ((fast, slow), 0.0)]:
            # 6x16 is the model's choice for 16 outputs, whichever time it has.
            named = tuple(fit_cost.dataclasses.replace(tile, kernel=of.kernel, lanes=of.lanes, mr_by_vectors=of.mr_by_vectors)
                          for tile, of in zip(tiles, shape.tiles))
            self.assertEqual(fit_cost.regret([fit_cost.dataclasses.replace(shape, tiles=named)], c)[0], lost)

    def test_reports_are_recorded(self):
        report = self.folder / "times.json"
        tile = {"kernel": "pw_f32_6x16_avx2", "lanes": 8, "mr_by_vectors": [12, 6], "ms": 0.25}
        gemm = {"m": 49, "k": 3, "n": 5, "tiles": [tile, {**tile, "kernel": "other"}]}
        one = {"m": 1, "k": 3, "n": 5, "tiles": [tile]}
        rows = [{"layers": ["a", "b"], "gemm": gemm}, {"layers": ["c"], "gemm": one}, {"layers": ["d"]}]
        report.write_text(json.dumps({"isa": "avx2", "tables": [{"rows": rows}]}))
        with unittest.mock.patch.object(fit_cost, "TIMES", self.folder / "times.csv"):
            for cpu in ["one", "two", "one"]:
                self.assertEqual(fit_cost.record(json.loads(report.read_text()), cpu, False, 32768), 2)
            shapes, found = fit_cost.read(fit_cost.TIMES)
        self.assertEqual([(row["cpu"], row["us"]) for row in found], [(cpu, "250.0") for cpu in ["two", "two", "one", "one"]])
        self.assertEqual([(shape.m, shape.layers, len(shape.tiles)) for shape in shapes], [(49, 2, 2)] * 2)

    def test_what_is_no_report_is_refused(self):
        for text, expected in [("{", "expected what `tune --json` prints"), ('{"isa": "avx2", "tables": []}', "no times")]:
            report = self.folder / "bad.json"
            report.write_text(text)
            status, said = self.run_tool(TOOLS / "fit_cost.py", "record", report, "--cpu", "none")
            self.assertEqual((status, expected in said), (2, True), said)


if __name__ == "__main__":
    environment = ROOT / "target" / convert_weights.ENVIRONMENT
    convert_weights.guarded(lambda: convert_weights.enter(environment, convert_weights.PACKAGES))
    unittest.main()
