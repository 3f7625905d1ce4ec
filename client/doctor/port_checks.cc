// SPDX-License-Identifier: BSD-3-Clause
// check_port() of appliance_checks.h: what each kind of port needs of the machine.
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "appliance/devices.h"
#include "client/doctor/appliance_checks.h"

namespace lagan::client::doctor {

using appliance::PortKind;
using appliance::PortOptions;

namespace {

constexpr uint32_t kFullMtu = 4188;  // of the IP packet, for a path MTU of 4096
constexpr uint64_t kVfioUnlimited = UINT64_MAX;

class PortChecks {
  public:
    PortChecks(const Machine& machine, const PortOptions& port, Findings& findings)
        : machine_(machine), port_(port), name_("port " + port.name), findings_(findings) {}

    // A port with a problem has no other findings.
    void run() {
        if (!check_device()) return;
        if (port_.mtu_bytes < kFullMtu && port_.kind != PortKind::tap) {
            findings_.warning(name_,
                              fmt::format("mtu = {} allows no path MTU of 4096: a page takes several packets",
                                          port_.mtu_bytes),
                              mend_mtu());
        } else {
            findings_.ok(name_, good_);
        }
    }

  private:
    bool problem(std::string seen, std::string mend) {
        findings_.problem(name_, std::move(seen), std::move(mend));
        return false;
    }
    bool good(std::string seen) {
        good_ = std::move(seen);
        return true;
    }

    bool check_device() {
        switch (port_.kind) {
            case PortKind::vhost:
            case PortKind::memif:
                return check_own_socket();
            case PortKind::virtio_user:
                return check_other_socket();
            case PortKind::af_packet:
                return check_interface() && check_capability(CAP_NET_RAW, "CAP_NET_RAW");
            case PortKind::tap:
                return check_tap() && check_capability(CAP_NET_ADMIN, "CAP_NET_ADMIN");
            case PortKind::pci:
                return check_pci();
            case PortKind::vdev:
                return good(port_.devargs + " is for DPDK to judge, at start");
        }
        return false;
    }

    // lagand makes the socket, and directories above it.
    bool check_own_socket() {
        struct stat status {};
        const std::string path = port_.path.string();
        if (lstat(machine_.at(port_.path).c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
            return problem(path + " is in the way and is no socket", "sudo rm " + path);
        std::filesystem::path directory = port_.path.parent_path();
        while (!machine_.exists(directory) && directory.has_relative_path())
            directory = directory.parent_path();
        if (!machine_.may(directory, W_OK | X_OK)) {
            return problem(fmt::format("this user may not make {}", path),
                           fmt::format("sudo install -d -o $(id -un) {}   # or start lagand as root",
                                       port_.path.parent_path().string()));
        }
        return good(path + " can be made");
    }

    bool check_other_socket() {
        const std::string path = port_.path.string();
        if (!machine_.exists(port_.path))
            return problem(fmt::format("nobody serves {}: there is no such socket", path),
                           "start the virtual switch first; its vhost-user socket is port.path");
        if (!machine_.may(port_.path, R_OK | W_OK))
            return problem(fmt::format("this user may not use {}", path),
                           fmt::format("sudo setfacl -m u:$(id -un):rw {}", path));
        return good(path + " is there");
    }

    bool check_interface() {
        const Interface* interface = machine_.interface(port_.interface);
        if (interface == nullptr)
            return problem(fmt::format("there is no interface {} here", port_.interface),
                           "ip -brief link   # then port.interface in lagand.toml");
        if (!interface->up)
            return problem(fmt::format("the interface {} is down", port_.interface),
                           fmt::format("sudo ip link set dev {} up", port_.interface));
        if (interface->mtu_bytes < port_.mtu_bytes)
            return problem(
                fmt::format("the MTU of {} is {}, the port's {}", port_.interface, interface->mtu_bytes,
                            port_.mtu_bytes),
                fmt::format("sudo ip link set dev {} mtu {}   # and on every switch; or a lower port.mtu",
                            port_.interface, port_.mtu_bytes));
        return good(fmt::format("{} is up, its MTU is {}", port_.interface, interface->mtu_bytes));
    }

    bool check_tap() {
        if (!machine_.exists("/dev/net/tun"))
            return problem("there is no /dev/net/tun to make an interface with", "sudo modprobe tun");
        return good(
            fmt::format("{} can be made; a tap is for trials: its path MTU is 1024", port_.interface));
    }

    // Of this user: lagand may be started by another.
    bool check_capability(unsigned number, const char* capability) {
        if (machine_.has_capability(number)) return true;
        findings_.add(
            machine_.superuser ? Verdict::problem : Verdict::warning, name_,
            fmt::format("this user has no {}, which lagand needs for it", capability),
            fmt::format("start lagand as root, or by systemd with AmbientCapabilities={0}; docker run "
                        "--cap-add {1}",
                        capability, std::string_view(capability).substr(4)));
        return false;
    }

    bool check_pci() {
        const std::string address = appliance::device_arguments(port_, 0, 1).name;
        const std::string device = "/sys/bus/pci/devices/" + address;
        if (!machine_.exists(device))
            return problem(fmt::format("there is no PCI device {}", address),
                           "lspci -D | grep -i ethernet   # then port.pci in lagand.toml");
        const std::string driver = machine_.link_name(device + "/driver");
        constexpr std::string_view kMellanox = "0x15b3";
        // DPDK works beside this driver, which keeps the device.
        if (machine_.text(device + "/vendor") == kMellanox) return check_mellanox(address, driver);
        for (const std::string_view fit : {"vfio-pci", "igb_uio", "uio_pci_generic"}) {
            if (driver == fit) return check_vfio(address, device, driver);
        }
        return problem(
            fmt::format("{} is bound to {}, and DPDK needs vfio-pci", address,
                        driver.empty() ? "no driver" : driver),
            fmt::format("sudo modprobe vfio-pci && sudo dpdk-devbind.py --bind=vfio-pci {0}   # the kernel "
                        "loses its interface; back: dpdk-devbind.py --bind={1} {0}",
                        address, driver.empty() ? "DRIVER" : driver));
    }

    bool check_mellanox(const std::string& address, const std::string& driver) {
        if (driver == "mlx5_core" || driver == "mlx4_core")
            return good(fmt::format("{} stays with {}, as its DPDK driver wants", address, driver));
        return problem(
            fmt::format("{} is bound to {}, but a Mellanox NIC stays with its kernel driver", address,
                        driver.empty() ? "no driver" : driver),
            fmt::format("sudo modprobe mlx5_core && sudo dpdk-devbind.py --bind=mlx5_core {}", address));
    }

    bool check_vfio(const std::string& address, const std::string& device, const std::string& driver) {
        if (driver != "vfio-pci") return good(fmt::format("{} is bound to {}", address, driver));
        const std::string group = machine_.link_name(device + "/iommu_group");
        const bool no_iommu_mode =
            machine_.text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").value_or("N") == "Y";
        if (group.empty() && !no_iommu_mode)
            return problem(
                fmt::format("{} has no IOMMU, and vfio does not work without", address),
                "boot with intel_iommu=on (or amd_iommu=on) on the kernel's command line; in a virtual "
                "machine without one:\necho Y | sudo tee "
                "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
        const std::string file = (no_iommu_mode ? "/dev/vfio/noiommu-" : "/dev/vfio/") + group;
        if (!group.empty() && !machine_.may(file, R_OK | W_OK))
            return problem(fmt::format("this user may not open {}", file),
                           fmt::format("sudo chown $(id -un) {}   # or start lagand as root", file));
        if (machine_.memlock_bytes != kVfioUnlimited && !machine_.has_capability(CAP_IPC_LOCK))
            return problem("the NIC must reach all of the arena, but this user's locked memory is limited",
                           "sudo prlimit --pid $$ --memlock=unlimited   # by systemd: LimitMEMLOCK=infinity");
        return good(fmt::format("{} is bound to vfio-pci", address));
    }

    std::string mend_mtu() const {
        if (port_.kind == PortKind::af_packet)
            return fmt::format(
                "sudo ip link set dev {} mtu 4200   # and mtu = 4200 for the port in lagand.toml; on every "
                "switch as well",
                port_.interface);
        return "mtu = 4200 for the port in lagand.toml, and on every switch";
    }

    const Machine& machine_;
    const PortOptions& port_;
    const std::string name_;
    Findings& findings_;
    std::string good_;
};

}  // namespace

void check_port(const Machine& machine, const PortOptions& port, Findings& findings) {
    PortChecks(machine, port, findings).run();
}

}  // namespace lagan::client::doctor
