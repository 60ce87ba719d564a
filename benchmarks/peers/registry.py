"""The peers there are."""

from peers.process import Program

BOTH = ("LIF", "ALIF")
BRAINTRACE = ("SNNTRACE_PEER_BRAINTRACE", "braintrace_worker.py")
JAXPIKE = ("SNNTRACE_PEER_JAXPIKE", "jaxpike_worker.py")

PEERS = {
    program.name: program
    for program in (
        Program(
            "braintrace D_RTRL",
            *BRAINTRACE,
            mode="D_RTRL",
            kinds=BOTH,
            same_spikes=BOTH,
            gradient="D_RTRL",
            differences="gives no gradient for the read-out",
        ),
        Program(
            "braintrace pp_prop",
            *BRAINTRACE,
            mode="pp_prop",
            kinds=BOTH,
            same_spikes=BOTH,
            differences="an approximate gradient, none for the read-out",
        ),
        Program(
            "spyx",
            "SNNTRACE_PEER_SPYX",
            "spyx_worker.py",
            differences="the reset is not detached and does not leak; the read-out is a step late",
        ),
        Program(
            "snntorch",
            "SNNTRACE_PEER_SNNTORCH",
            "snntorch_worker.py",
            differences="the reset does not leak",
        ),
        Program(
            "spikingjelly",
            "SNNTRACE_PEER_SPIKINGJELLY",
            "spikingjelly_worker.py",
            same_spikes=("LIF",),
            gradient="BPTT",
        ),
        Program(
            "norse",
            "SNNTRACE_PEER_NORSE",
            "norse_worker.py",
            kinds=BOTH,
            differences="reset to zero; with adaptation, currents act a step late",
        ),
        Program(
            "jaxpike",
            *JAXPIKE,
            mode="BPTT",
            kinds=BOTH,
            same_spikes=("LIF",),
            differences="the reset is not detached; with adaptation, by the adapted threshold",
        ),
        Program(
            "jaxpike e-prop",
            *JAXPIKE,
            mode="e-prop",
            differences="no recurrence, labels constant in time, a leaky read-out",
        ),
    )
}
