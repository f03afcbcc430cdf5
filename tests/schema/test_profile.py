"""Column profiles: the built-in ones, one's own, and what is wrong with a wrong one."""

import time

import pytest

from dicomflow.dictionary import entry_for_keyword
from dicomflow.errors import ConfigError
from dicomflow.schema.profile import BUILT_IN, MAX_COLUMNS, RESERVED, load_profile


def write(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return str(path)


def columns(tmp_path, text):
    return {column.name: column for column in load_profile(write(tmp_path, "profile: mine\ncolumns:\n" + text)).columns}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_load(name):
    """SOPInstanceUID comes first; names are unique; every keyword is the dictionary's, or has a path of its own."""
    profile = load_profile(name)
    names = [column.name for column in profile.columns]
    assert (profile.name, names[0], len(set(names))) == (name, "SOPInstanceUID", len(names))
    for column in profile.columns:
        assert entry_for_keyword(column.name) or column.path_texts[0] != column.name


def test_the_standard_profile_is_about_150_columns_and_holds_the_minimal_one():
    """The sizes that are promised."""
    standard, minimal = ({column.name for column in load_profile(name).columns} for name in ("standard", "minimal"))
    assert 140 <= len(standard) <= 170 and 20 <= len(minimal) <= 30
    assert minimal <= standard


def test_a_functional_group_looks_in_the_shared_then_the_first_frame_s_group():
    """The attribute itself, then the shared group, then that of the first frame."""
    spacing = next(column for column in load_profile("standard").columns if column.name == "PixelSpacing")
    assert spacing.path_texts == (
        "PixelSpacing",
        "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing",
        "PerFrameFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing",
    )


def test_one_s_own_profile_may_say_all_that_the_docstring_shows(tmp_path):
    """Keywords, functional groups, paths, private elements; VR and VM of one's own."""
    found = columns(
        tmp_path,
        """
  - PatientID
  - EchoTime: {functional_group: MREchoSequence, attribute: EffectiveEchoTime}
  - name: FirstReferencedImage
    path: ReferencedImageSequence[0].ReferencedSOPInstanceUID
  - {name: BValue, private: {creator: "SIEMENS MR HEADER", group: 0x0019, element: 0x0C}, vr: IS}
  - {name: Several, paths: [StudyID, AccessionNumber], vr: LO, vm: 1-n}
""",
    )
    assert list(found) == ["SOPInstanceUID", "PatientID", "EchoTime", "FirstReferencedImage", "BValue", "Several"]
    assert found["EchoTime"].path_texts[1].endswith("MREchoSequence[0].EffectiveEchoTime")
    assert (found["FirstReferencedImage"].vr, found["FirstReferencedImage"].many) == ("UI", False)
    assert found["BValue"].paths[0][0] == (0x0019000C, None, "SIEMENS MR HEADER")
    assert (found["BValue"].vr, found["Several"].many, len(found["Several"].paths)) == ("IS", True, 2)


def test_a_profile_extends_another_and_may_replace_its_columns(tmp_path):
    """Columns of the base come first; the same name again is the new definition."""
    text = "profile: mine\nextends: minimal\ncolumns:\n  - EchoTime\n  - {name: Modality, path: SOPClassUID}\n  - SOPInstanceUID\n"
    profile = load_profile(write(tmp_path, text))
    base = [column.name for column in load_profile("minimal").columns]
    assert [column.name for column in profile.columns] == [*base, "EchoTime"]
    assert next(column for column in profile.columns if column.name == "Modality").path_texts == ("SOPClassUID",)


def test_profiles_that_extend_each_other_are_refused(tmp_path):
    """A circle is named, not followed."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(f"profile: a\nextends: {second}\ncolumns: []\n")
    second.write_text(f"profile: b\nextends: {first}\ncolumns: []\n")
    with pytest.raises(ConfigError, match="circle"):
        load_profile(str(first))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("- PatientIDD", "did you mean 'PatientID'"),
        ("- {name: X, pth: PatientID}", "pth: unknown key; did you mean 'path'"),
        ("- {name: X, path: Foo.Bar}", "not a DICOM keyword"),
        ("- {name: X, path: ReferencedImageSequence.ReferencedSOPInstanceUID}", "needs an item"),
        ("- {name: X, path: 'PatientID[0]'}", "names an attribute"),
        ("- {name: X, private: {creator: A, group: 0x0018, element: 1}, vr: LO}", "a private group is odd"),
        ("- {name: X, private: {creator: A, group: 0x0019, element: 1}}", "needs a vr"),
        ("- {name: X, private: {creator: A, group: 0x0019, element: 0x100}, vr: LO}", "element"),
        ("- {name: 'a b', path: PatientID}", "name"),
        ("- EncapsulatedDocument", "bulk data"),
        ("- PixelData", "headers end before"),
        ("- (6000,0010)", "needs a name"),
        ("- PatientID\n  - PatientID", "is there twice"),
        ("- {path: PatientID}", "name"),
        ("- 7", "columns"),
        *((f"- {{name: {name}, path: PatientID}}", "uses itself") for name in sorted(RESERVED - {"SOPInstanceUID"})),
    ],
)
def test_a_wrong_column_is_named_with_its_file_and_a_hint(tmp_path, entry, message):
    """One line, the file first."""
    path = write(tmp_path, f"profile: mine\ncolumns:\n  {entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    text = str(caught.value)
    assert text.startswith(path) and message in text and "\n" not in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "profile: x",
        "columns: []",
        "profile: x\ncolumns: {}\n",
        "profile: x\ncolumns: [PatientID]\nextra: 1\n",
        "profile: ../../x\ncolumns: []\n",
        "profile: x\ncolumns: [PatientID\n",
        "profile: !!python/object/apply:os.system ['true']\ncolumns: []\n",
        "profile: x\ncolumns: &a [*a]\n",
        "profile: x\ncolumns: " + "[" * 2000,
        "profile: x\ncolumns: [" + "PatientID, " * (MAX_COLUMNS + 1) + "]",
        "profile: x\nprofile: y\ncolumns: []\n",
        "\0",
    ],
)
def test_hostile_yaml_is_refused(tmp_path, text):
    """Objects, aliases, depth, size and repeated keys: one ConfigError, at once."""
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_profile(write(tmp_path, text))
    assert time.perf_counter() - started < 5


def test_a_name_that_is_no_profile_is_refused_with_a_hint(tmp_path):
    """A misspelt name, a folder, a name with a NUL, a file that is no text."""
    with pytest.raises(ConfigError, match="did you mean 'standard'"):
        load_profile("standart")
    for name in (str(tmp_path), "x\0y", "nothing"):
        with pytest.raises(ConfigError, match="no such column profile"):
            load_profile(name)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_profile(str(tmp_path / "binary.yaml"))


def test_a_built_in_profile_is_read_once():
    """Reading one header must not cost a parse of YAML."""
    assert load_profile("standard") is load_profile("standard")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ("[PatientID, {name: patientid, path: PatientName}]", "differ in case only"),
        ("[{name: Status, path: PatientSex}]", "dicomflow uses itself"),
        ("[{name: A, private: {creator: MÜLLER, group: 0x0019, element: 1}, vr: LO}]", "ASCII"),
    ],
)
def test_names_that_would_mislead(tmp_path, columns, problem):
    """SQL ignores case, and a creator is compared byte by byte: what would answer wrongly in silence is refused."""
    path = tmp_path / "own.yaml"
    path.write_text(f"profile: own\ncolumns: {columns}\n", "utf-8")
    with pytest.raises(ConfigError, match=problem):
        load_profile(str(path))


def test_tags_may_be_written_as_text(tmp_path):
    """Text is hexadecimal, as people write tags."""
    path = tmp_path / "own.yaml"
    path.write_text("profile: own\ncolumns: [{name: A, private: {creator: X, group: '0043', element: '39'}, vr: IS}]\n")
    assert load_profile(str(path)).columns[1].paths[0][0].tag == 0x00430039
