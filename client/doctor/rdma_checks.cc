// SPDX-License-Identifier: BSD-3-Clause
// The checks of rdma_devices.h.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "client/doctor/rdma_devices.h"

namespace lagan::client::doctor {

namespace {

constexpr unsigned kWantedMtu = 4200;

// The interface that a soft-RoCE device would most likely go on.
std::string likely_interface(const Machine& machine) {
    std::string first;
    for (const Interface& interface : machine.interfaces) {
        if (interface.name == "lo") continue;
        if (interface.up && !interface.addresses.empty()) return interface.name;
        if (first.empty()) first = interface.name;
    }
    return first.empty() ? "eth0" : first;
}

bool has_module(const Machine& machine, const std::string& name) {
    const std::string modules = "/lib/modules/" + machine.kernel();
    const std::string wanted = "/" + name + ".ko";
    for (const char* list : {"/modules.dep", "/modules.builtin"}) {
        if (machine.text(modules + list).value_or("").find(wanted) != std::string::npos) return true;
    }
    return machine.exists("/sys/module/" + name);
}

std::string mend_no_device(const Machine& machine) {
    const std::string add = fmt::format(
        "sudo modprobe rdma_rxe && sudo rdma link add rxe0 type rxe netdev {}", likely_interface(machine));
    if (has_module(machine, "rdma_rxe")) return add;
    const std::string kernel = machine.kernel();
    // Debian's kernel for clouds leaves the module out.
    if (kernel.find("-cloud-") != std::string::npos) {
        return fmt::format(
            "Linux {} is Debian's kernel for clouds, which has no rdma_rxe: sudo apt-get install "
            "linux-image-amd64, and reboot into it\nthen: {}",
            kernel, add);
    }
    return fmt::format(
        "Linux {} has no module rdma_rxe; Debian's own kernel has it: sudo apt-get install "
        "linux-image-amd64, and reboot into it\nthen: {}",
        kernel, add);
}

class RdmaChecks {
  public:
    RdmaChecks(const Machine& machine, bool needed, Findings& findings)
        : machine_(machine), worst_(needed ? Verdict::problem : Verdict::warning), findings_(findings) {}

    void run() {
        const std::vector<RdmaPort> ports = rdma_ports(machine_);
        if (ports.empty()) {
            complain("rdma device",
                     worst_ == Verdict::problem
                         ? "there is none here"
                         : "there is none here: only an appliance on this same machine can be reached",
                     mend_no_device(machine_));
            return;
        }
        check_access();
        for (const RdmaPort& port : ports)
            check_port(port);
    }

  private:
    void complain(const std::string& check, std::string seen, std::string mend) {
        findings_.add(worst_, check, std::move(seen), std::move(mend));
    }

    // Of rdma-core's character devices and its drivers for user space.
    void check_access() {
        const char* const check = "rdma access";
        const auto devices = machine_.list("/dev/infiniband");
        const auto verbs = std::find_if(devices.begin(), devices.end(),
                                        [](const std::string& name) { return name.starts_with("uverbs"); });
        if (verbs == devices.end() || !machine_.exists("/dev/infiniband/rdma_cm")) {
            complain(check, "/dev/infiniband lacks uverbs0 or rdma_cm",
                     "sudo modprobe -a ib_uverbs rdma_ucm");
            return;
        }
        for (const std::string& name : {*verbs, std::string("rdma_cm")}) {
            if (machine_.may("/dev/infiniband/" + name, R_OK | W_OK)) continue;
            complain(check, fmt::format("this user may not open /dev/infiniband/{}", name),
                     "sudo chmod 666 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm   # rdma-core's udev "
                     "rules do "
                     "so at every boot: sudo apt-get install rdma-core");
            return;
        }
        if (machine_.list("/etc/libibverbs.d").empty()) {
            complain(check, "libibverbs has no drivers (/etc/libibverbs.d is empty)",
                     "sudo apt-get install ibverbs-providers");
            return;
        }
        findings_.ok(check, fmt::format("this user may open /dev/infiniband/{} and rdma_cm", *verbs));
    }

    void check_port(const RdmaPort& port) {
        const std::string name = "rdma port " + port.device + "/" + port.number;
        if (port.netdev.empty()) {
            complain(name, "has no network interface, so it cannot speak RoCE (InfiniBand proper?)",
                     "use an RNIC with Ethernet ports, or: " + mend_no_device(machine_));
            return;
        }
        const Interface* interface = machine_.interface(port.netdev);
        if (interface == nullptr) {
            complain(name, fmt::format("its interface {} is not in this network namespace", port.netdev),
                     "rdma system show   # and run lagan in the namespace that has the interface");
            return;
        }
        if (port.state != "ACTIVE" || !interface->up) {
            complain(name,
                     fmt::format("is {}, its interface {} is {}", port.state, port.netdev,
                                 interface->up ? "up: is the cable plugged in?" : "down"),
                     fmt::format("sudo ip link set dev {} up", port.netdev));
            return;
        }
        findings_.ok(name, fmt::format("is active on {}", port.netdev));
        check_mtu(name, *interface);
        check_gids(name, port, *interface);
    }

    void check_mtu(const std::string& name, const Interface& interface) {
        const unsigned mtu = path_mtu(interface.mtu_bytes);
        const std::string mend = fmt::format(
            "sudo ip link set dev {} mtu {}   # and on every switch between here and the appliance",
            interface.name, kWantedMtu);
        const std::string check = name + ", mtu";
        if (mtu == 0) {
            complain(
                check,
                fmt::format("{} of {} leaves no room for a RoCE packet", interface.mtu_bytes, interface.name),
                mend);
        } else if (mtu < 4096) {
            findings_.warning(check,
                              fmt::format("{} of {} gives a path MTU of {}: a page takes {} packets",
                                          interface.mtu_bytes, interface.name, mtu, 4096 / mtu),
                              mend);
        } else {
            findings_.ok(
                check, fmt::format("{} of {} gives a path MTU of 4096", interface.mtu_bytes, interface.name));
        }
    }

    void check_gids(const std::string& name, const RdmaPort& port, const Interface& interface) {
        const std::string check = name + ", gid table";
        if (interface.addresses.empty()) {
            complain(check, fmt::format("{} has no address, so there is no GID to connect from", port.netdev),
                     fmt::format("sudo ip address add 10.77.0.2/24 dev {}   # one in the appliance's network",
                                 port.netdev));
            return;
        }
        std::string good;
        std::vector<net::IpAddress> missing;
        for (const net::IpAddress& address : interface.addresses) {
            if (port.has_rocev2_gid(address)) {
                good += (good.empty() ? "" : ", ") + address.to_string();
            } else {
                missing.push_back(address);
            }
        }
        if (!good.empty()) findings_.ok(check, "has RoCE v2 for " + good);
        // One that works is enough.
        const Verdict verdict = good.empty() ? worst_ : Verdict::warning;
        for (const net::IpAddress& address : missing)
            complain_of_gid(verdict, check, port, address);
    }

    void complain_of_gid(Verdict verdict, const std::string& check, const RdmaPort& port,
                         const net::IpAddress& address) {
        const std::string text = address.to_string();
        const bool rocev1 = std::any_of(port.gids.begin(), port.gids.end(),
                                        [&](const Gid& gid) { return gid.address == address; });
        if (rocev1) {
            findings_.add(
                verdict, check, fmt::format("{} has only RoCE v1, which is not routed and not served", text),
                fmt::format(
                    "sudo cma_roce_mode -d {} -p {} -m 2   # of package rdma-core; needs an RNIC that "
                    "can do RoCE v2",
                    port.device, port.number));
            return;
        }
        findings_.add(
            verdict, check, fmt::format("has no RoCE v2 entry for {}, the address of {}", text, port.netdev),
            fmt::format("sudo ip link set dev {0} down && sudo ip link set dev {0} up   # the kernel enters "
                        "its addresses again; look with: rdma link, ibv_devinfo -v",
                        port.netdev));
    }

    const Machine& machine_;
    const Verdict worst_;
    Findings& findings_;
};

}  // namespace

void check_rdma(const Machine& machine, bool needed, Findings& findings) {
    RdmaChecks(machine, needed, findings).run();
}

}  // namespace lagan::client::doctor
