// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "mgmt/http/transport.h"

namespace lagan::http {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
namespace fs = std::filesystem;

namespace {

// Only forward secrecy and authenticated encryption; TLS 1.3 has nothing else.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

// Copies what SSL_CTX functions have put down as the reason.
[[noreturn]] void fail(const fs::path& file, const std::string& what) {
    const unsigned long code = ERR_peek_last_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    ERR_clear_error();
    throw std::runtime_error("TLS: " + file.string() + ": " + what +
                             (reason == nullptr ? "" : std::string(": ") + reason));
}

// OpenSSL's own words for it are "system lib".
void check_readable(const fs::path& file, const char* what) {
    ERR_clear_error();
    if (access(file.c_str(), R_OK) != 0)
        fail(file, std::string("cannot read ") + what + ": " + std::strerror(errno));
}

void check_key_file(const fs::path& file) {
    struct stat status {};
    check_readable(file, "the key");
    if (stat(file.c_str(), &status) != 0) fail(file, "cannot read the key");
    if ((status.st_mode & S_IRWXO) != 0)
        fail(file, "the key can be used by everybody: chmod o-rwx " + file.string());
}

void load_identity(SSL_CTX* context, const fs::path& certificate, const fs::path& key) {
    check_readable(certificate, "a certificate");
    check_key_file(key);
    if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
        fail(certificate, "cannot read a certificate (PEM)");
    if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
        fail(key, "cannot read a key (PEM) that fits the certificate");
    if (SSL_CTX_check_private_key(context) != 1) fail(key, "is not the key of " + certificate.string());
}

void load_authority(SSL_CTX* context, const fs::path& ca) {
    check_readable(ca, "CA certificates");
    if (SSL_CTX_load_verify_file(context, ca.c_str()) != 1) fail(ca, "cannot read CA certificates (PEM)");
}

void set_rules(SSL_CTX* context) {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(context, kCiphers);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    // Every connection shows its certificate.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long bytes = BIO_get_mem_data(bio, &data);
    return bytes <= 0 ? std::string() : std::string(data, static_cast<size_t>(bytes));
}

std::string subject_of(X509* certificate) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    return text_of(bio.get());
}

// Empty: a kind of name that is not shown, or one with characters that it cannot have.
std::string name_text(const GENERAL_NAME* name) {
    const auto ascii = [](const char* kind, const ASN1_IA5STRING* string) {
        const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                               static_cast<size_t>(ASN1_STRING_length(string)));
        for (const char c : text)
            if (c <= ' ' || c > '~') return std::string();
        return kind + text;
    };
    switch (name->type) {
        case GEN_DNS:
            return ascii("DNS:", name->d.dNSName);
        case GEN_URI:
            return ascii("URI:", name->d.uniformResourceIdentifier);
        case GEN_EMAIL:
            return ascii("email:", name->d.rfc822Name);
        case GEN_IPADD: {
            char text[INET6_ADDRSTRLEN];
            const int bytes = ASN1_STRING_length(name->d.iPAddress);
            if (bytes != 4 && bytes != 16) return {};
            inet_ntop(bytes == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text,
                      sizeof text);
            return std::string("IP:") + text;
        }
        default:
            return {};
    }
}

std::vector<std::string> names_of(X509* certificate) {
    const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> found(
        static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
        GENERAL_NAMES_free);
    std::vector<std::string> names;
    for (int i = 0; i < sk_GENERAL_NAME_num(found.get()); ++i)
        if (std::string text = name_text(sk_GENERAL_NAME_value(found.get(), i)); !text.empty())
            names.push_back(std::move(text));
    return names;
}

class TlsTransport final : public Transport {
  public:
    TlsTransport(Socket socket, ssl::context& context, ssl::stream_base::handshake_type side,
                 const std::string& server_name)
        : stream_(std::move(socket), context), side_(side) {
        if (side == ssl::stream_base::server) return;
        Error is_name;
        asio::ip::make_address(server_name, is_name);
        if (is_name)  // what the macro SSL_set_tlsext_host_name does
            SSL_ctrl(stream_.native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                     const_cast<char*>(server_name.c_str()));
        stream_.set_verify_callback(ssl::host_name_verification(server_name));
    }

    void shake_hands(Done done) override { stream_.async_handshake(side_, std::move(done)); }
    void read_some(asio::mutable_buffer to, DoneBytes done) override {
        // Without a farewell is an end, too: HTTP says itself whether something is missing.
        stream_.async_read_some(to, [done = std::move(done)](Error error, size_t bytes) {
            done(error == ssl::error::stream_truncated ? Error(asio::error::eof) : error, bytes);
        });
    }
    void write(asio::const_buffer from, DoneBytes done) override {
        asio::async_write(stream_, from, std::move(done));
    }
    void end_sending(Done done) override { stream_.async_shutdown(std::move(done)); }
    void close() override {
        Error ignored;
        stream_.next_layer().close(ignored);
    }
    Peer peer() override {
        Peer peer = peer_of(stream_.next_layer());
        peer.kind = Peer::Kind::tls;
        SSL* connection = stream_.native_handle();
        X509* certificate = SSL_get0_peer_certificate(connection);
        if (certificate == nullptr || SSL_get_verify_result(connection) != X509_V_OK) return peer;
        peer.subject = subject_of(certificate);
        peer.names = names_of(certificate);
        return peer;
    }

  private:
    ssl::stream<Socket> stream_;
    const ssl::stream_base::handshake_type side_;
};

class Context final : public TlsContext {
  public:
    explicit Context(ssl::stream_base::handshake_type side)
        : context_(side == ssl::stream_base::server ? ssl::context::tls_server : ssl::context::tls_client),
          side_(side) {
        set_rules(native());
    }

    SSL_CTX* native() { return context_.native_handle(); }
    void verify_peer() { context_.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert); }
    std::unique_ptr<Transport> wrap(Socket socket, const std::string& server_name) const override {
        return std::make_unique<TlsTransport>(std::move(socket), context_, side_, server_name);
    }

  private:
    mutable ssl::context context_;  // connections only count their references to it, atomically
    const ssl::stream_base::handshake_type side_;
};

}  // namespace

std::shared_ptr<const Tls> server_tls(const ServerTlsFiles& files) {
    auto context = std::make_shared<Context>(ssl::stream_base::server);
    load_identity(context->native(), files.certificate, files.key);
    if (!files.client_ca.empty()) {
        load_authority(context->native(), files.client_ca);
        // So that clients with several certificates know which one is wanted.
        SSL_CTX_set_client_CA_list(context->native(), SSL_load_client_CA_file(files.client_ca.c_str()));
        context->verify_peer();
    }
    return context;
}

std::shared_ptr<const Tls> client_tls(const ClientTlsFiles& files) {
    auto context = std::make_shared<Context>(ssl::stream_base::client);
    if (!files.certificate.empty()) load_identity(context->native(), files.certificate, files.key);
    if (files.ca.empty()) {
        SSL_CTX_set_default_verify_paths(context->native());
    } else {
        load_authority(context->native(), files.ca);
    }
    context->verify_peer();
    return context;
}

}  // namespace lagan::http
