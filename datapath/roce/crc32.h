// SPDX-License-Identifier: BSD-3-Clause
// CRC-32 (reflected, polynomial 0x04c11db7: zlib's and RoCE's) as a linear map over GF(2).
//
// A *raw* CRC is the plain remainder: no inversion before or after, so crc32_raw(0, zeros) == 0 and
//   crc32_raw(s, A || B) == crc32_shift(crc32_raw(s, A), len(B)) ^ crc32_raw(0, B).
// The second form is what lets a page's stored CRC stand in for its bytes. Everything here is thread-safe and
// cannot fail. Tables are made at compile time. Needs a little-endian CPU (x86-64).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lagan::roce {

// The raw CRC of `bytes` bytes behind a state (ISA-L underneath).
uint32_t crc32_raw(uint32_t state, const void* data, size_t bytes);

inline constexpr size_t kShiftTableBytes = 4096;  // shifts up to here are looked up

namespace detail {

// False until static initialisation has asked the CPU: then the portable paths below run, which are right
// too.
extern const bool kHavePclmul;
extern const std::array<uint32_t, kShiftTableBytes + 1> kShiftMultipliers;

uint64_t clmul_portable(uint32_t a, uint32_t b);

inline constexpr uint64_t kPolynomial33 = 0x1db710641;      // x^32 + ..., bit 0 is x^32
inline constexpr uint64_t kBarrettMu = 0xb4e5b025f7011641;  // floor(x^96 / P) without its x^0, bit 0 is x^64

using Vec = long long __attribute__((vector_size(16)));

// Both low (high) halves multiplied. Assembly, because DPDK's -march has no PCLMULQDQ and a function with a
// target attribute could not be inlined into those without.
inline Vec clmul_low(Vec a, Vec b) {
    __asm__("pclmulqdq $0x00, %1, %0" : "+x"(a) : "x"(b));
    return a;
}
inline Vec clmul_high(Vec a, Vec b) {
    __asm__("pclmulqdq $0x11, %1, %0" : "+x"(a) : "x"(b));
    return a;
}
inline Vec to_vec(uint64_t low) {
    return Vec{static_cast<long long>(low), 0};
}

// word * x^32 mod P, where bit i of the word is the coefficient of x^(63-i). Barrett: the quotient is the low
// half of the first product, the remainder lies in bits 64..95 of the second.
inline uint32_t reduce(Vec word) {
    const Vec quotient = clmul_low(word, to_vec(kBarrettMu));
    return static_cast<uint32_t>(clmul_low(quotient, to_vec(kPolynomial33))[1]);
}

}  // namespace detail

// A product of two CRCs that is not reduced yet. Products may be added (xor) before crc32_reduce, which saves
// a reduction for each term: a page's CRC is crc32_reduce of its four blocks' products.
using Crc32Product = uint64_t;

inline Crc32Product crc32_product(uint32_t state, uint32_t multiplier) {
    if (!detail::kHavePclmul) [[unlikely]]
        return detail::clmul_portable(state, multiplier);
    return static_cast<uint64_t>(detail::clmul_low(detail::to_vec(state), detail::to_vec(multiplier))[0]);
}

inline uint32_t crc32_reduce(Crc32Product product) {
    if (!detail::kHavePclmul) [[unlikely]]
        return crc32_raw(0, &product, sizeof product);
    return detail::reduce(detail::to_vec(product));
}

// A multiplier m such that crc32_multiply(s, m) is the state after `bytes` zero bytes. Opaque: it carries the
// factor that the reduction takes out again. A table look-up for bytes <= kShiftTableBytes, O(log bytes)
// above.
uint32_t crc32_shift_multiplier_long(size_t bytes);
inline uint32_t crc32_shift_multiplier(size_t bytes) {
    return bytes <= kShiftTableBytes ? detail::kShiftMultipliers[bytes] : crc32_shift_multiplier_long(bytes);
}

inline uint32_t crc32_multiply(uint32_t state, uint32_t multiplier) {
    return crc32_reduce(crc32_product(state, multiplier));
}

// The state after `bytes` zero bytes: multiplication by x^(8*bytes) mod P. crc32_shift(0, n) == 0.
inline uint32_t crc32_shift(uint32_t state, size_t bytes) {
    return crc32_multiply(state, crc32_shift_multiplier(bytes));
}

// Eight more bytes: what changes from one READ response to the next (PSN word and AETH).
inline uint32_t crc32_raw_8(uint32_t state, const uint8_t* data) {
    uint64_t word;
    std::memcpy(&word, data, sizeof word);
    return crc32_reduce(word ^ state);
}

// Copies one 1 KiB block and returns its raw CRC with initial state 0, in one pass. `to` is 64-byte aligned;
// `from` need not be aligned. copy_crc32_block_nt leaves `to` out of the caches (non-temporal stores): issue
// one sfence before the bytes are published. The CPU decides between VPCLMULQDQ, PCLMULQDQ and ISA-L +
// memcpy.
inline constexpr size_t kCrcBlockBytes = 1024;
uint32_t copy_crc32_block(void* to, const void* from);
uint32_t copy_crc32_block_nt(void* to, const void* from);

// One way of doing it.
struct CopyCrc32 {
    const char* name;
    bool supported;  // by this CPU
    uint32_t (*copy)(void* to, const void* from);
    uint32_t (*copy_nt)(void* to, const void* from);
};

// All of them, best first: "vpclmulqdq", "pclmulqdq", "isal". The first supported one is what the functions
// above use.
std::array<CopyCrc32, 3> copy_crc32_implementations();
const char* crc32_implementation();

}  // namespace lagan::roce
