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
