import time, cProfile, pstats
from tests.test_reports import *
from tests.test_reports import city
from tests.conftest import *
def test_perf(ledger):
    nodes(ledger)
    for n in (1000,2000):
        for L,more in ((f"L{n}",lambda i: paper(f"{n}{i}")),(f"N{n}",lambda i: {})):
            ev=[shipped(0, L, 100000, "commissioning", ABATTOIR, action="ADD")]
            ev+=[shipped(i+1, L, 50, "shipping", ABATTOIR, **more(i)) for i in range(n)]
            ev+=[shipped(i+n+3, L, 50, "receiving", MARKET, **more(i)) for i in range(n)]
            for i in range(0,len(ev),500): record(ledger,*ev[i:i+500])
            sign(ledger)
            pr=cProfile.Profile()
            t=time.perf_counter(); d=made(ledger,"dossier",code=lot(L)); print(L, round(time.perf_counter()-t,2), facts(d,"Summary")["coverage %"])
        pr.enable(); made(ledger,"dossier",code=lot(L)); pr.disable()
    pstats.Stats(pr).sort_stats("cumtime").print_stats(28)
    assert 0
