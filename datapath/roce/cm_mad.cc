// SPDX-License-Identifier: BSD-3-Clause
// Each message's layout is written down once, as a function over a codec that either reads or writes the
// fields. Offsets count from the end of the 24-byte MAD header; bit fields are (offset, lowest bit, width).
#include "datapath/roce/cm_mad.h"

#include <algorithm>
#include <boost/endian/conversion.hpp>

namespace lagan::roce {

namespace {

constexpr size_t kMadHeaderBytes = 24;
constexpr uint8_t kBaseVersion = 1, kClassCommunication = 7, kClassVersion = 2, kMethodSend = 3;
constexpr size_t kTransactionIdOffset = 8, kAttributeOffset = 16;

constexpr uint8_t bit_mask(unsigned width) {
    return static_cast<uint8_t>((1U << width) - 1);
}

class Reader {
  public:
    template <typename T>
    using Field = T&;

    explicit Reader(const uint8_t* body) : body_(body) {}

    template <typename T>
    void integer(size_t offset, T& field) {
        field = boost::endian::endian_load<T, sizeof(T), boost::endian::order::big>(body_ + offset);
    }
    void integer24(size_t offset, uint32_t& field) { field = boost::endian::load_big_u24(body_ + offset); }
    template <typename T>
    void bits(size_t offset, unsigned lowest, unsigned width, T& field) {
        field = static_cast<T>((body_[offset] >> lowest) & bit_mask(width));
    }
    template <size_t kBytes>
    void bytes(size_t offset, std::array<uint8_t, kBytes>& field) {
        std::copy_n(body_ + offset, kBytes, field.begin());
    }
    void reason(size_t offset, RejectReason& field) {
        field = static_cast<RejectReason>(boost::endian::load_big_u16(body_ + offset));
    }
    void flow_label(size_t offset, uint32_t& field) {
        field = boost::endian::load_big_u24(body_ + offset) >> 4;
    }

  private:
    const uint8_t* body_;
};

// Fills a body that is zero.
class Writer {
  public:
    template <typename T>
    using Field = const T&;

    explicit Writer(uint8_t* body) : body_(body) {}

    template <typename T>
    void integer(size_t offset, T field) {
        boost::endian::endian_store<T, sizeof(T), boost::endian::order::big>(body_ + offset, field);
    }
    void integer24(size_t offset, uint32_t field) {
        boost::endian::store_big_u24(body_ + offset, field & 0xffffff);
    }
    template <typename T>
    void bits(size_t offset, unsigned lowest, unsigned width, T field) {
        const auto value = static_cast<unsigned>(field) & bit_mask(width);
        body_[offset] = static_cast<uint8_t>(body_[offset] | (value << lowest));
    }
    template <size_t kBytes>
    void bytes(size_t offset, const std::array<uint8_t, kBytes>& field) {
        std::copy(field.begin(), field.end(), body_ + offset);
    }
    void reason(size_t offset, RejectReason field) { integer(offset, static_cast<uint16_t>(field)); }
    void flow_label(size_t offset, uint32_t field) {
        boost::endian::store_big_u24(body_ + offset, (field << 4) & 0xfffff0);
    }

  private:
    uint8_t* body_;
};

template <typename Codec>
using Path = typename Codec::template Field<CmPath>;

template <typename Codec>
void path_layout(Codec& codec, size_t base, Path<Codec> path) {
    codec.integer(base, path.local_lid);
    codec.integer(base + 2, path.remote_lid);
    codec.bytes(base + 4, path.local_gid.bytes);
    codec.bytes(base + 20, path.remote_gid.bytes);
    codec.flow_label(base + 36, path.flow_label);
    codec.bits(base + 39, 0, 6, path.packet_rate);
    codec.integer(base + 40, path.traffic_class);
    codec.integer(base + 41, path.hop_limit);
    codec.bits(base + 42, 4, 4, path.service_level);
    codec.bits(base + 42, 3, 1, path.subnet_local);
    codec.bits(base + 43, 3, 5, path.local_ack_timeout);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmRequest> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(8, m.service_id);
    codec.integer(16, m.ca_guid);
    codec.integer(28, m.qkey);
    codec.integer24(32, m.local_qpn);
    codec.integer(35, m.responder_resources);
    codec.integer(39, m.initiator_depth);
    codec.bits(43, 3, 5, m.remote_cm_response_timeout);
    codec.bits(43, 1, 2, m.transport_service);
    codec.bits(43, 0, 1, m.flow_control);
    codec.integer24(44, m.starting_psn);
    codec.bits(47, 3, 5, m.local_cm_response_timeout);
    codec.bits(47, 0, 3, m.retry_count);
    codec.integer(48, m.pkey);
    codec.bits(50, 4, 4, m.path_mtu_code);
    codec.bits(50, 3, 1, m.rdc_exists);
    codec.bits(50, 0, 3, m.rnr_retry);
    codec.bits(51, 4, 4, m.max_cm_retries);
    codec.bits(51, 3, 1, m.srq);
    codec.bits(51, 0, 3, m.extended_transport);
    path_layout(codec, 52, m.primary);
    path_layout(codec, 96, m.alternate);
    codec.bytes(140, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmReceiptAck> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.bits(8, 6, 2, m.subject);
    codec.bits(9, 3, 5, m.service_timeout);
    codec.bytes(10, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmReject> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.bits(8, 6, 2, m.subject);
    codec.bits(9, 1, 7, m.info_bytes);
    codec.reason(10, m.reason);
    codec.bytes(12, m.info);
    codec.bytes(84, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmReply> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.integer(8, m.qkey);
    codec.integer24(12, m.local_qpn);
    codec.integer24(20, m.starting_psn);
    codec.integer(24, m.responder_resources);
    codec.integer(25, m.initiator_depth);
    codec.bits(26, 3, 5, m.target_ack_delay);
    codec.bits(26, 1, 2, m.failover);
    codec.bits(26, 0, 1, m.flow_control);
    codec.bits(27, 5, 3, m.rnr_retry);
    codec.bits(27, 4, 1, m.srq);
    codec.integer(28, m.ca_guid);
    codec.bytes(36, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmReadyToUse> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.bytes(8, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmDisconnectRequest> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.integer24(8, m.remote_qpn);
    codec.bytes(12, m.private_data);
}

template <typename Codec>
void layout(Codec& codec, typename Codec::template Field<CmDisconnectReply> m) {
    codec.integer(0, m.local_comm_id);
    codec.integer(4, m.remote_comm_id);
    codec.bytes(8, m.private_data);
}

constexpr uint16_t kAttributes[] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16};  // in the variant's order
static_assert(std::size(kAttributes) == std::variant_size_v<decltype(CmMessage::body)>);

template <typename Message>
CmMessage read_message(uint64_t transaction_id, const uint8_t* body) {
    Message message;
    Reader reader(body);
    layout(reader, message);
    return {transaction_id, message};
}

constexpr uint8_t kIpCmVersion = 0;

}  // namespace

std::optional<CmMessage> decode_cm_mad(std::span<const uint8_t> mad) {
    if (mad.size() != kMadBytes) return std::nullopt;
    constexpr uint8_t kExpected[] = {kBaseVersion, kClassCommunication, kClassVersion, kMethodSend};
    if (!std::equal(std::begin(kExpected), std::end(kExpected), mad.begin())) return std::nullopt;
    const uint64_t id = boost::endian::load_big_u64(mad.data() + kTransactionIdOffset);
    const uint8_t* body = mad.data() + kMadHeaderBytes;
    switch (boost::endian::load_big_u16(mad.data() + kAttributeOffset)) {
        case 0x10:
            return read_message<CmRequest>(id, body);
        case 0x11:
            return read_message<CmReceiptAck>(id, body);
        case 0x12:
            return read_message<CmReject>(id, body);
        case 0x13:
            return read_message<CmReply>(id, body);
        case 0x14:
            return read_message<CmReadyToUse>(id, body);
        case 0x15:
            return read_message<CmDisconnectRequest>(id, body);
        case 0x16:
            return read_message<CmDisconnectReply>(id, body);
        default:
            return std::nullopt;
    }
}

Mad encode_cm_mad(const CmMessage& message) {
    Mad mad{kBaseVersion, kClassCommunication, kClassVersion, kMethodSend};
    boost::endian::store_big_u64(mad.data() + kTransactionIdOffset, message.transaction_id);
    boost::endian::store_big_u16(mad.data() + kAttributeOffset, kAttributes[message.body.index()]);
    Writer writer(mad.data() + kMadHeaderBytes);
    std::visit([&writer](const auto& body) { layout(writer, body); }, message.body);
    return mad;
}

std::optional<IpCmHeader> decode_ip_cm_header(std::span<const uint8_t> data) {
    if (data.size() < kIpCmHeaderBytes || data[0] != kIpCmVersion) return std::nullopt;
    const unsigned family = data[1] >> 4;
    if (family != 4 && family != 6) return std::nullopt;
    auto address = [&](size_t offset) {
        const uint8_t* at = data.data() + offset;
        return family == 4 ? net::IpAddress::from_ipv4(at + 12) : net::IpAddress::from_ipv6(at);
    };
    return IpCmHeader{boost::endian::load_big_u16(data.data() + 2), address(4), address(20)};
}

std::array<uint8_t, kIpCmHeaderBytes> encode_ip_cm_header(const IpCmHeader& header) {
    std::array<uint8_t, kIpCmHeaderBytes> data{};
    const bool ipv4 = header.source.is_ipv4();
    data[0] = kIpCmVersion;
    data[1] = ipv4 ? 0x40 : 0x60;
    boost::endian::store_big_u16(&data[2], header.source_port);
    auto store = [&](size_t offset, const net::IpAddress& address) {
        const size_t skipped = ipv4 ? 12 : 0;  // the rest stays zero, it is not the mapped form
        std::copy(address.bytes.begin() + skipped, address.bytes.end(), data.begin() + offset + skipped);
    };
    store(4, header.source);
    store(20, header.destination);
    return data;
}

const char* reject_reason_name(RejectReason reason) {
    switch (reason) {
#define LAGAN_X(name, number) \
    case RejectReason::name:  \
        return #name;
        LAGAN_REJECT_REASONS(LAGAN_X)
#undef LAGAN_X
    }
    return "unknown";
}

}  // namespace lagan::roce
