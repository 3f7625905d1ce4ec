// SPDX-License-Identifier: BSD-3-Clause
// The fused copy and CRC of one block: several accumulators are folded forward over the block by carry-less
// multiplication while the same registers are stored. Folding by D bits multiplies the two halves of a
// 128-bit piece by x^(D+64) and x^D; the constants are one power lower because a product of reflected words
// gains an x.
#include <immintrin.h>
#include <isa-l/crc.h>

#include <algorithm>
#include <cstring>

#include "datapath/roce/crc32.h"
#include "datapath/roce/crc32_tables.h"

namespace lagan::roce {

namespace {

using detail::fold_by;
using detail::FoldConstants;
constexpr FoldConstants kFold128 = fold_by(128), kFold256 = fold_by(256), kFold384 = fold_by(384);
constexpr FoldConstants kFold512 = fold_by(512), kFold768 = fold_by(768), kFold1024 = fold_by(1024);

#define LAGAN_PCLMUL __attribute__((target("pclmul,sse4.1")))
#define LAGAN_VPCLMUL __attribute__((target("vpclmulqdq,avx2,pclmul")))

LAGAN_PCLMUL inline __m128i fold(__m128i piece, FoldConstants by) {
    const __m128i constants = _mm_set_epi64x(by.high, by.low);
    return _mm_xor_si128(_mm_clmulepi64_si128(piece, constants, 0x00),
                         _mm_clmulepi64_si128(piece, constants, 0x11));
}

LAGAN_VPCLMUL inline __m256i fold(__m256i pieces, FoldConstants by) {
    const __m256i constants = _mm256_set_epi64x(by.high, by.low, by.high, by.low);
    return _mm256_xor_si256(_mm256_clmulepi64_epi128(pieces, constants, 0x00),
                            _mm256_clmulepi64_epi128(pieces, constants, 0x11));
}

LAGAN_PCLMUL inline uint32_t finish(__m128i piece) {
    const auto low = static_cast<uint64_t>(_mm_cvtsi128_si64(piece));
    const auto high = static_cast<uint64_t>(_mm_extract_epi64(piece, 1));
    return crc32_reduce(high ^ crc32_reduce(low));
}

template <bool kNonTemporal>
LAGAN_PCLMUL inline __m128i move(__m128i* to, const __m128i* from) {
    const __m128i piece = _mm_loadu_si128(from);
    if constexpr (kNonTemporal)
        _mm_stream_si128(to, piece);
    else
        _mm_store_si128(to, piece);
    return piece;
}

template <bool kNonTemporal>
LAGAN_VPCLMUL inline __m256i move(__m256i* to, const __m256i* from) {
    const __m256i pieces = _mm256_loadu_si256(from);
    if constexpr (kNonTemporal)
        _mm256_stream_si256(to, pieces);
    else
        _mm256_store_si256(to, pieces);
    return pieces;
}

template <bool kNonTemporal>
LAGAN_PCLMUL uint32_t copy_pclmul(void* to, const void* from) {
    auto* out = static_cast<__m128i*>(to);
    auto* in = static_cast<const __m128i*>(from);
    __m128i a = move<kNonTemporal>(out, in), b = move<kNonTemporal>(out + 1, in + 1);
    __m128i c = move<kNonTemporal>(out + 2, in + 2), d = move<kNonTemporal>(out + 3, in + 3);
    for (size_t i = 4; i < kCrcBlockBytes / sizeof(__m128i); i += 4) {
        a = _mm_xor_si128(fold(a, kFold512), move<kNonTemporal>(out + i, in + i));
        b = _mm_xor_si128(fold(b, kFold512), move<kNonTemporal>(out + i + 1, in + i + 1));
        c = _mm_xor_si128(fold(c, kFold512), move<kNonTemporal>(out + i + 2, in + i + 2));
        d = _mm_xor_si128(fold(d, kFold512), move<kNonTemporal>(out + i + 3, in + i + 3));
    }
    const __m128i ab = _mm_xor_si128(fold(a, kFold384), fold(b, kFold256));
    return finish(_mm_xor_si128(ab, _mm_xor_si128(fold(c, kFold128), d)));
}

template <bool kNonTemporal>
LAGAN_VPCLMUL uint32_t copy_vpclmul(void* to, const void* from) {
    auto* out = static_cast<__m256i*>(to);
    auto* in = static_cast<const __m256i*>(from);
    __m256i a = move<kNonTemporal>(out, in), b = move<kNonTemporal>(out + 1, in + 1);
    __m256i c = move<kNonTemporal>(out + 2, in + 2), d = move<kNonTemporal>(out + 3, in + 3);
    for (size_t i = 4; i < kCrcBlockBytes / sizeof(__m256i); i += 4) {
        a = _mm256_xor_si256(fold(a, kFold1024), move<kNonTemporal>(out + i, in + i));
        b = _mm256_xor_si256(fold(b, kFold1024), move<kNonTemporal>(out + i + 1, in + i + 1));
        c = _mm256_xor_si256(fold(c, kFold1024), move<kNonTemporal>(out + i + 2, in + i + 2));
        d = _mm256_xor_si256(fold(d, kFold1024), move<kNonTemporal>(out + i + 3, in + i + 3));
    }
    const __m256i ab = _mm256_xor_si256(fold(a, kFold768), fold(b, kFold512));
    const __m256i pair = _mm256_xor_si256(ab, _mm256_xor_si256(fold(c, kFold256), d));
    const __m128i first = _mm256_castsi256_si128(pair), second = _mm256_extracti128_si256(pair, 1);
    return finish(_mm_xor_si128(fold(first, kFold128), second));
}

uint32_t copy_isal(void* to, const void* from) {
    std::memcpy(to, from, kCrcBlockBytes);
    return crc32_raw(0, from, kCrcBlockBytes);
}

CopyCrc32 best() {
    const std::array<CopyCrc32, 3> all = copy_crc32_implementations();
    return *std::find_if(all.begin(), all.end(), [](const CopyCrc32& each) { return each.supported; });
}

// Starts with what is right on every CPU, so that other static initialisers may call in here.
constinit CopyCrc32 chosen = {"isal", true, copy_isal, copy_isal};
[[maybe_unused]] const bool kChosen = (chosen = best(), true);

}  // namespace

std::array<CopyCrc32, 3> copy_crc32_implementations() {
    const bool pclmul = __builtin_cpu_supports("pclmul") > 0 && __builtin_cpu_supports("sse4.1") > 0;
    const bool vpclmul = __builtin_cpu_supports("vpclmulqdq") > 0 && __builtin_cpu_supports("avx2") > 0;
    return {{{"vpclmulqdq", pclmul && vpclmul, copy_vpclmul<false>, copy_vpclmul<true>},
             {"pclmulqdq", pclmul, copy_pclmul<false>, copy_pclmul<true>},
             {"isal", true, copy_isal, copy_isal}}};
}

uint32_t copy_crc32_block(void* to, const void* from) {
    return chosen.copy(to, from);
}
uint32_t copy_crc32_block_nt(void* to, const void* from) {
    return chosen.copy_nt(to, from);
}
const char* crc32_implementation() {
    return chosen.name;
}

}  // namespace lagan::roce
