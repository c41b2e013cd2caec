"""The Core Business Vocabulary 2.0 words that EPCIS fields may hold, and the prefixes of its JSON-LD context.

In JSON a standard value is its bare word (`shipping`); `Vocabulary.word` also takes the standard's own web URI
(`https://ref.gs1.org/cbv/BizStep-shipping`) and its CURIE. A URI of anybody else is that party's own value and is kept.
The older `urn:epcglobal:cbv:` form belongs to XML and is refused in JSON, as GS1's JSON binding does.

Source: CBV 2.0 (GS1, June 2022), sections 7 and 8. Words only; nothing of GS1's files is bundled.
"""

from dataclasses import dataclass

_CBV_ELSEWHERE = ("urn:epcglobal:cbv", "http://ns.gs1.org/cbv/", "https://ns.gs1.org/cbv/")
_CBV_BASES = ("https://ref.gs1.org/cbv/", "cbv:")
_CBV_LISTS = ("BizStep-", "Disp-", "BTT-", "SDT-", "ER-", "Comp-")
_CBV_MEMBERS = tuple(base + member for base in _CBV_BASES for member in _CBV_LISTS)
_VOC_ELSEWHERE = tuple(f"{scheme}://{host}/voc/" for scheme in ("http", "https") for host in ("gs1.org", "www.gs1.org"))


@dataclass(frozen=True)
class Vocabulary:
    """One code list: its members, the URI prefixes that its publisher gives them, and forms that JSON refuses.

    A closed list knows all its members; GS1's Web Vocabulary is open and grows without a new CBV.
    """

    name: str
    prefixes: tuple[str, ...]
    refused: tuple[str, ...]
    closed: bool
    words: frozenset[str]

    def word(self, value: str) -> str:
        """The bare word for a standard value, a private URI as it is; `ValueError` with the reason otherwise."""
        if value in self.words:
            return value
        for prefix in self.prefixes:
            if value.startswith(prefix):
                if (word := value[len(prefix) :]) in self.words:
                    return word
                break
        if self.closed and value.startswith(_CBV_MEMBERS):
            raise ValueError(f"{value!r} is not a {self.name} of CBV 2.0")
        if ":" not in value:
            raise ValueError(f"{value!r} is not a {self.name} of CBV 2.0; a value of your own must be a URI")
        if value.startswith(self.refused):
            raise ValueError(f"{value!r} is not how JSON writes a {self.name}; write the bare word")
        return value


def _cbv(name: str, *members: str, words: str) -> Vocabulary:
    prefixes = [f"{base}{member}" for member in members for base in _CBV_BASES]
    return Vocabulary(name, tuple(prefixes), _CBV_ELSEWHERE, True, frozenset(words.split()))


def _gs1(name: str, *, words: str) -> Vocabulary:
    return Vocabulary(name, ("gs1:",), _VOC_ELSEWHERE, False, frozenset(words.split()))


BUSINESS_STEPS = _cbv(
    "business step",
    "BizStep-",
    words="""
    accepting arriving assembling collecting commissioning consigning creating_class_instance cycle_counting
    decommissioning departing destroying disassembling dispensing encoding entering_exiting holding inspecting
    installing killing loading other packing picking receiving removing repackaging repairing replacing
    reserving retail_selling shipping staging_outbound stock_taking stocking storing transporting unloading
    unpacking void_shipping sensor_reporting sampling
""",
)
DISPOSITIONS = _cbv(
    "disposition",
    "Disp-",
    words="""
    active container_closed damaged destroyed dispensed disposed encoded expired in_progress in_transit
    inactive no_pedigree_match non_sellable_other partially_dispensed recalled reserved retail_sold returned
    sellable_accessible sellable_not_accessible stolen unknown available completeness_verified
    completeness_inferred conformant container_open mismatch_instance mismatch_class mismatch_quantity
    needs_replacement non_conformant unavailable
""",
)
TRANSACTION_TYPES = _cbv(
    "business transaction type",
    "BTT-",
    words="""
    bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt
""",
)
PARTY_TYPES = _cbv(
    "source or destination type",
    "SDT-",
    words="""
    owning_party possessing_party location
""",
)
ERROR_REASONS = _cbv(
    "error reason",
    "ER-",
    words="""
    did_not_occur incorrect_data
""",
)
COMPONENTS = _cbv(
    "sensor component",
    "Comp-",
    words="""
    x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting northing latitude
    longitude altitude
""",
)
MEASUREMENT_TYPES = _gs1(
    "measurement type",
    words="""
    AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Radioactivity Altitude AmountOfSubstance
    AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area Capacitance
    Conductance Conductivity Count Density Dimensionless DoseEquivalent DoseEquivalentRate DynamicViscosity
    ElectricCharge ElectricCurrent ElectricCurrentDensity ElectricFieldStrength Energy Exposure Force
    Frequency Illuminance Inductance Irradiance KinematicViscosity Length LinearMomentum Luminance
    LuminousFlux LuminousIntensity MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass
    MassConcentration MassFlowRate MassPerAreaTime MemoryCapacity MolalityOfSolute MolarEnergy MolarMass
    MolarVolume Power Pressure RadiantFlux RadiantIntensity RelativeHumidity Resistance Resistivity SolidAngle
    SpecificVolume Speed SurfaceDensity SurfaceTension Temperature Time Torque Voltage Volume VolumeFlowRate
    VolumeFraction VolumetricFlux Wavenumber
""",
)
ALERT_TYPES = _gs1(
    "sensor alert type",
    words="""
    ALARM_CONDITION ERROR_CONDITION
""",
)

STANDARD_PREFIXES = frozenset({"epcis", "cbv", "cbvmda", "gs1", "rdfs", "owl", "xsd", "dcterms"})
"""Prefixes that the EPCIS 2.0 JSON-LD context itself declares."""

STANDARD_CONTEXTS = (
    "https://ref.gs1.org/standards/epcis/",
    "https://gs1.github.io/EPCIS/",
    "http://ref.gs1.org/standards/epcis/",
)
"""Where GS1 publishes that context. It is known by its address and never fetched."""

CHINESE = {
    # business steps
    "accepting": "接受", "arriving": "到达", "assembling": "组装", "collecting": "采集", "commissioning": "产生",
    "consigning": "托运", "creating_class_instance": "产生批次", "cycle_counting": "循环盘点",
    "decommissioning": "注销", "departing": "发车", "destroying": "销毁", "disassembling": "拆解",
    "dispensing": "发药", "encoding": "写码", "entering_exiting": "进出", "holding": "封存", "inspecting": "检验",
    "installing": "安装", "killing": "屠宰", "loading": "装载", "other": "其他", "packing": "装箱",
    "picking": "拣货", "receiving": "收货", "removing": "损耗或使用", "repackaging": "换包装", "repairing": "维修",
    "replacing": "更换", "reserving": "预留", "retail_selling": "零售", "shipping": "发货",
    "staging_outbound": "待发", "stock_taking": "盘点", "stocking": "上架", "storing": "入库",
    "transporting": "运输", "unloading": "卸载", "unpacking": "拆箱", "void_shipping": "撤销发货",
    "sensor_reporting": "传感器上报", "sampling": "抽样",
    # dispositions
    "active": "有效", "container_closed": "容器关闭", "container_open": "容器打开", "damaged": "损坏",
    "destroyed": "已销毁", "dispensed": "已发药", "disposed": "已处理", "encoded": "已写码", "expired": "过期",
    "in_progress": "进行中", "in_transit": "运输中", "inactive": "失效", "no_pedigree_match": "来源不符",
    "non_sellable_other": "不可售", "partially_dispensed": "部分发药", "recalled": "已召回", "reserved": "已预留",
    "retail_sold": "已售", "returned": "已退回", "sellable_accessible": "可售在架",
    "sellable_not_accessible": "可售在库", "stolen": "被盗", "unknown": "不明", "available": "可用",
    "unavailable": "不可用", "completeness_verified": "已核实齐全", "completeness_inferred": "推定齐全",
    "conformant": "合格", "non_conformant": "不合格", "mismatch_instance": "单品不符", "mismatch_class": "品类不符",
    "mismatch_quantity": "数量不符", "needs_replacement": "需更换",
}  # fmt: skip
"""What steps and dispositions are called in Chinese. A value of somebody's own has no name here."""
