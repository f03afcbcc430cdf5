"""Invented hospitals and people, each site with its own character set, and the scanners that stand there.

In: the number of a patient or site.  Out: names, identifiers, scanners.  Knows no images.  Persons and hospitals do not exist.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from dicomflow.synth.draw import Draw
from dicomflow.synth.study import Device


class Model(NamedTuple):
    """What scanners of one kind have in common; ``vendor`` as of ``Device``."""

    vendor: str
    manufacturer: str
    name: str
    software: str


class Site(NamedTuple):
    """One hospital; ``charset`` holds the terms of SpecificCharacterSet (PS3.3 C.12.1.1.2), none where it is absent."""

    charset: tuple[str, ...]
    institution: str
    address: str
    prefix: str  # of patient identifiers
    names: tuple[str, ...]
    physicians: tuple[str, ...]
    comment: str


SITES: tuple[Site, ...] = (
    Site(
        charset=(),
        institution="Millbrook General Hospital",
        address="12 Harbour Lane, Millbrook",
        prefix="MGH",
        names=("Ashdown^Peter^J", "Fenwick^Clara", "Harlow^Mia^Rose^^", "Thorne^Edgar^^Dr^Jr", "Quill^Ada"),
        physicians=("Bramley^Susan^^Dr", "Locke^Owen"),
        comment="referred by the outpatient clinic",
    ),
    Site(
        charset=("ISO_IR 100",),
        institution="Klinikum Schönbrück",
        address="Mühlgasse 7, Schönbrück",
        prefix="KSB",
        names=("Müller-Groß^Jörg", "Lindström^Åsa", "Peña^Íñigo", "Lefèvre^Zoé", "Käßner^Ölga"),
        physicians=("Weiß^Jürgen^^Prof. Dr.", "Köhler^Ännchen"),
        comment="Überweisung aus der Ambulanz",
    ),
    Site(
        charset=("ISO_IR 192",),
        institution="Clínica Montefrío – Ελπίδα",
        address="Plaza del Río 3",
        prefix="CMF",
        names=("Nguyễn^Ánh", "Παππάς^Ελένη", "Şahin^Çağla", "O’Brien^Róisín", "Łukasik^Żaneta"),
        physicians=("Ćurić^Đorđe", "García^Núria"),
        comment="Paciente remitido – “urgente”",
    ),
    Site(
        charset=("", "ISO 2022 IR 87"),
        institution="Aozora Hospital",
        address="Minato 4-2-8",
        prefix="AZ",
        names=(
            "Minami^Haruto=南^晴人=みなみ^はると",
            "Kitagawa^Sakura=北川^桜=きたがわ^さくら",
            "Hoshino^Ren=星野^蓮=ほしの^れん",
            "Morita^Aoi=森田^葵",
        ),
        physicians=("Ishikawa^Kenji=石川^健二=いしかわ^けんじ",),
        comment="外来より紹介",
    ),
    Site(
        charset=("GB18030",),
        institution="青山医院",
        address="青山路18号",
        prefix="QS",
        names=("Lin^Wei=林^薇", "Zhou^Ming=周^明", "Xu^Jing=徐^静", "Gao^Yu=高^宇"),
        physicians=("Shen^Hao=沈^浩",),
        comment="门诊转诊",
    ),
    Site(
        charset=("ISO_IR 144",),
        institution="Больница Озёрная",
        address="ул. Речная, 5",
        prefix="OZ",
        names=("Лебедев^Артём^Ильич", "Соколова^Вера", "Зимин^Глеб", "Орлова^Юлия^Львовна"),
        physicians=("Белов^Егор^Павлович",),
        comment="направлен из поликлиники",
    ),
    Site(
        charset=("", "ISO 2022 IR 149"),
        institution="Haneul Hospital",
        address="Gangbyeon-ro 21",
        prefix="HN",
        names=("Seo^Jiho=徐^志浩=서^지호", "Han^Yuna=韓^柔娜=한^유나", "Baek^Minjun=白^敏俊=백^민준"),
        physicians=("Noh^Sujin=盧^秀珍=노^수진",),
        comment="외래 의뢰",
    ),
)

_GE = ("ge", "GE MEDICAL SYSTEMS")
_SIEMENS = ("siemens", "SIEMENS")
_PHILIPS = ("philips", "Philips Medical Systems")

MODELS: MappingProxyType[str, tuple[Model, ...]] = MappingProxyType(
    {
        "CT": (
            Model(*_SIEMENS, "SOMATOM Definition AS+", "syngo CT 2012B"),
            Model(*_GE, "Revolution CT", "revo_ct_22bc.50"),
            Model(*_PHILIPS, "Brilliance 64", "4.1.6"),
            Model("other", "TOSHIBA", "Aquilion ONE", "V6.02"),
        ),
        "MR": (
            Model(*_GE, "SIGNA Architect", "28"),
            Model(*_SIEMENS, "Prisma_fit", "syngo MR E11"),
            Model(*_PHILIPS, "Ingenia", "5.4.1"),
        ),
        "PT": (
            Model(*_GE, "Discovery 690", "pet_mict_plus.44"),
            Model(*_SIEMENS, "Biograph128_mCT", "VG60A"),
        ),
        "CR": (
            Model("other", "FUJIFILM Corporation", "5000 Plus", "A18"),
            Model("other", "Agfa", "ADC_51xx", "ADCS_3102"),
        ),
        "DX": (
            Model(*_PHILIPS, "DigitalDiagnost", "2.2.0"),
            Model("other", "Carestream Health", "DRX-Evolution", "5.7.412"),
        ),
        "MG": (
            Model("other", "HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.8.3.63"),
            Model(*_GE, "Senographe Essential", "ADS_54.11"),
        ),
        "US": (
            Model(*_PHILIPS, "EPIQ 7C", "1.8.5"),
            Model("ge", "GE Healthcare Ultrasound", "Vivid E95", "203"),
        ),
        "RTSTRUCT": (Model("other", "Varian Medical Systems", "ARIA RadOnc", "15.6"),),
        "SR": (Model("other", "OpenReading", "ReportDesk", "3.1"),),
        "SEG": (Model("other", "OpenReading", "LesionTool", "0.9"),),
    }
)
"""Scanners and workstations by Modality; the makers are real, the machines are nobody's."""

_SEVERAL = MappingProxyType({"MR": 2})
"""How many scanners of a modality a site has, where it has more than one."""


def find_scanners(patient: int, modality: str) -> tuple[Device, ...]:
    """The scanners of a modality that stand at the site of a patient: the same ones for all studies, whatever the seed.

    >>> [scanner.model for scanner in find_scanners(0, "MR")]
    ['SIGNA Architect', 'Prisma_fit']
    """
    site = patient % len(SITES)
    models = MODELS[modality]
    return tuple(
        _install(models[(site + place) % len(models)], site, modality, place)
        for place in range(_SEVERAL.get(modality, 1))
    )


def _install(model: Model, site: int, modality: str, place: int) -> Device:
    draw = Draw("scanner", site, modality, place)
    return Device(*model, serial=str(draw.integer(10_000, 99_999)), station=f"{modality}{place + 1:02d}")
