// SPDX-License-Identifier: BSD-3-Clause
// CRC-32 (reflected, polynomial 0x04c11db7: zlib's and RoCE's) as a linear map over GF(2).
//
// A *raw* CRC is the plain remainder: no inversion before or after, so crc32_raw(0, zeros) == 0 and
//   crc32_raw(s, A || B) == crc32_shift(crc32_raw(s, A), len(B)) ^ crc32_raw(0, B).
// The second form is what lets a page's stored CRC stand in for its bytes. Thread-safe; tables are made at
// compile time or in a static initialiser.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lagan::roce {

// The raw CRC of `bytes` bytes behind a state (ISA-L underneath).
uint32_t crc32_raw(uint32_t state, const void* data, size_t bytes);

// The state after `bytes` zero bytes: multiplication by x^(8*bytes) mod P. O(1) for bytes <= 4096 (one carry-less
// multiplication and a reduction), O(log bytes) above. crc32_shift(0, n) == 0.
uint32_t crc32_shift(uint32_t state, size_t bytes);

// crc32_shift with the multiplier for `bytes` looked up beforehand, for loops over one length.
uint32_t crc32_shift_multiplier(size_t bytes);
uint32_t crc32_multiply(uint32_t state, uint32_t multiplier);

// Eight more bytes, without touching memory twice: what changes from one READ response to the next (PSN word and AETH).
uint32_t crc32_raw_8(uint32_t state, const uint8_t* data);

// Copies one 1 KiB block and returns its raw CRC with initial state 0, in one pass. `to` is 64-byte aligned; `from`
// need not be aligned. copy_crc32_block_nt leaves `to` out of the caches (non-temporal stores): issue one
// sfence before the bytes are published. Both choose VPCLMULQDQ, PCLMULQDQ or ISA-L + memcpy by the CPU at
// first use.
inline constexpr size_t kCrcBlockBytes = 1024;
uint32_t copy_crc32_block(void* to, const void* from);
uint32_t copy_crc32_block_nt(void* to, const void* from);

// Which code path was chosen: "vpclmulqdq", "pclmulqdq" or "isal".
const char* crc32_implementation();

}  // namespace lagan::roce
