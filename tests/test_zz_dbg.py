import pytest
from tests.test_audit import *
from tests.test_audit import full
from ledger.packs.effects import outcomes_json as oj
def show(name, full):
    sign(full); r=look(full)
    print("\n##", name, "clean" if r.clean else [str(d) for d in r.disagreements][:5])
@pytest.mark.damages
def test_omit(full, monkeypatch):
    monkeypatch.setattr(Positions,"move",lambda *a: None)
    told(full, CORNER, sale(pack(5)))
    show("omitted outcome", full)
@pytest.mark.damages
def test_decl(full, monkeypatch):
    # a declaration whose outcome moves another, sold pack back
    e=sale(pack(99), eventID="urn:uuid:"+str(uuid.uuid4())); told(full, CORNER, e)
    def mb(self, draft, place):
        v,b = positions_module.read_rows(self._connection,[pack(4)])[pack(4)]
        self._before[pack(4)]=(v,b)
        n=dataclasses.replace(b,state=State.ACTIVE,held=True)
        self._now[pack(4)]=(v+1,n)
        return oj([Outcome(pack(4),v+1,b,n)],0)
    monkeypatch.setattr(Positions,"move_back",mb)
    told(full, CORNER, declaration(e))
    show("declaration moves unrelated sold pack back", full)
    print(full.database.connect().execute("select state from pack where code=%s",[pack(4)]).fetchone())
@pytest.mark.damages
@pytest.mark.parametrize("lot",["x\0y","长"*3000, "".join(chr(0x4e00+ (i*7919)%20000) for i in range(4000)), 7, ["a"], "\ud800"])
def test_lot(full, lot):
    for name,e in (("ilmd",{"action":"ADD","bizStep":"commissioning","epcList":[uri_of(pack(50))],"ilmd":{"cbvmda:lotNumber":lot}}),("ext",{**sale(pack(51)),"suyuan:lotNumber":lot})):
        try: told(full, CORNER, e); print("\n##",name,repr(lot)[:20],"ok")
        except BaseException as x: print("\n##",name,repr(lot)[:20],type(x),str(x)[:300])
    show("lot", full)
@pytest.mark.damages
def test_units(full):
    for u in (100000, 10**6, -1, True, 1.5, "3"):
        try: told(full, CORNER, {"bizStep":"dispensing","disposition":"partially_dispensed","epcList":[uri_of(pack(5))],"suyuan:units":u}); print("\n##",u, full.database.connect().execute("select units from pack where code=%s",[pack(5)]).fetchone())
        except BaseException as x: print("\n##",u,type(x),str(x)[:300])
    with own_su(full) as c: pass
    show("units", full)
def own_su(full): return full.database.connect()
@pytest.mark.damages
def test_exp(full):
    for t in ("2028-06-30T10:00:00Z","2028-02-30","0001-01-01","garbage",20280630,"2028-W01-1","20280630"):
        e={"action":"ADD","bizStep":"commissioning","epcList":[uri_of(pack(60))],"ilmd":{"cbvmda:itemExpirationDate":t},"eventID":"urn:uuid:"+str(uuid.uuid4())}
        try: told(full, CORNER, e); print("\n##",t, full.database.connect().execute("select expires from pack where code=%s",[pack(60)]).fetchone())
        except BaseException as x: print("\n##",t,type(x),str(x)[:300])
    show("exp", full)
@pytest.mark.damages
def test_twice_decl(full):
    e=sale(pack(4), pack(9), pack(5), eventID="urn:uuid:"+str(uuid.uuid4())); told(full, CORNER, e); told(full, CORNER, declaration(e))
    d=declaration(e); d["errorDeclaration"]={**d["errorDeclaration"],"declarationTime":"2026-11-26T00:00:01Z"}; told(full, CORNER, d)
    show("twice", full)
