"""The document that OpenAPI shows: one lot of pork shipped by a wholesaler, as EPCIS 2.0 JSON."""

from ledger.documents import Json

_CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]
EVENT: Json = {
    "type": "ObjectEvent",
    "eventID": "urn:uuid:6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c01",
    "eventTime": "2026-11-23T05:10:00+08:00",
    "eventTimeZoneOffset": "+08:00",
    "action": "OBSERVE",
    "bizStep": "shipping",
    "disposition": "in_transit",
    "readPoint": {"id": "https://id.gs1.org/414/6901234500011"},
    "quantityList": [
        {"epcClass": "https://id.gs1.org/01/06901234500103/10/P20261122A", "quantity": 86.5, "uom": "KGM"}
    ],
    "destinationList": [{"type": "possessing_party", "destination": "https://id.gs1.org/417/6901234500028"}],
}
BARE_EVENT: Json = {"@context": _CONTEXT, **EVENT}
DOCUMENT: Json = {
    "@context": _CONTEXT,
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-11-23T05:12:00+08:00",
    "epcisBody": {"eventList": [EVENT]},
}
