// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/roce/crc32.h"

#include <isa-l/crc.h>

#include <array>

#include "datapath/roce/crc32_tables.h"

namespace lagan::roce {

namespace detail {

const bool kHavePclmul = __builtin_cpu_supports("pclmul") > 0;

namespace {

// x^(8n - 33): the product's reduction multiplies by x^32, and a product of two reflected 32-bit words is
// short by one x.
constexpr std::array<uint32_t, kShiftTableBytes + 1> make_shift_multipliers() {
    std::array<uint32_t, kShiftTableBytes + 1> table{};
    uint32_t value = x_power(-33);
    for (uint32_t& entry : table) {
        entry = value;
        for (int bit = 0; bit < 8; ++bit)
            value = times_x(value);
    }
    return table;
}

}  // namespace

constinit const std::array<uint32_t, kShiftTableBytes + 1> kShiftMultipliers = make_shift_multipliers();

uint64_t clmul_portable(uint32_t a, uint32_t b) {
    uint64_t product = 0;
    for (int bit = 0; bit < 32; ++bit)
        if (((a >> bit) & 1) != 0) product ^= uint64_t{b} << bit;
    return product;
}

}  // namespace detail

// ISA-L inverts the state that it is given and the one that it returns.
uint32_t crc32_raw(uint32_t state, const void* data, size_t bytes) {
    return ~crc32_gzip_refl(~state, static_cast<const unsigned char*>(data), bytes);
}

// Square and multiply over units of the table's last entry. Multipliers are closed under crc32_multiply.
uint32_t crc32_shift_multiplier_long(size_t bytes) {
    uint32_t result = detail::kShiftMultipliers[bytes % kShiftTableBytes];
    uint32_t square = detail::kShiftMultipliers[kShiftTableBytes];
    for (size_t units = bytes / kShiftTableBytes; units != 0; units >>= 1) {
        if ((units & 1) != 0) result = crc32_multiply(result, square);
        square = crc32_multiply(square, square);
    }
    return result;
}

}  // namespace lagan::roce
