// SPDX-License-Identifier: BSD-3-Clause
// Certificates for tests, good ones and bad ones, as files.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace lagan::test {

class Authority {
  public:
    Authority(std::filesystem::path folder, const std::string& name)
        : folder_(std::move(folder)), key_(new_key()), certificate_(make(name, key_.get(), 0, 3600)) {
        add(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
        sign(certificate_.get());
        write_certificate(certificate_.get(), file());
    }

    std::filesystem::path file() const { return folder_ / (subject_ + ".pem"); }
    std::filesystem::path certificate_of(const std::string& name) const { return folder_ / (name + ".pem"); }
    std::filesystem::path key_of(const std::string& name) const { return folder_ / (name + ".key"); }

    // Valid from `from` to `until` seconds from now.
    void issue(const std::string& name, const char* alternative_names, const char* purpose = nullptr,
               long from = -60, long until = 3600) {
        const Key key = new_key();
        const Certificate certificate = make(name, key.get(), from, until);
        if (alternative_names != nullptr) add(certificate.get(), NID_subject_alt_name, alternative_names);
        if (purpose != nullptr) add(certificate.get(), NID_ext_key_usage, purpose);
        sign(certificate.get());
        write_certificate(certificate.get(), certificate_of(name));
        write_key(key.get(), key_of(name));
    }

  private:
    using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
    using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
    using File = std::unique_ptr<FILE, int (*)(FILE*)>;

    static void require(bool good) {
        if (!good) throw std::runtime_error("cannot make a certificate");
    }
    static Key new_key() { return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free}; }

    Certificate make(const std::string& name, EVP_PKEY* key, long from, long until) {
        if (subject_.empty()) subject_ = name;
        Certificate certificate(X509_new(), X509_free);
        X509* x = certificate.get();
        X509_set_version(x, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial_);
        X509_gmtime_adj(X509_getm_notBefore(x), from);
        X509_gmtime_adj(X509_getm_notAfter(x), until);
        set_name(X509_get_subject_name(x), name);
        set_name(X509_get_issuer_name(x), subject_);
        require(X509_set_pubkey(x, key) == 1);
        return certificate;
    }
    static void set_name(X509_NAME* to, const std::string& name) {
        require(X509_NAME_add_entry_by_txt(to, "CN", MBSTRING_UTF8,
                                           reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                                           0) == 1);
    }
    static void add(X509* certificate, int nid, const char* value) {
        const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
            X509V3_EXT_conf_nid(nullptr, nullptr, nid, value), X509_EXTENSION_free);
        require(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
    }
    void sign(X509* certificate) { require(X509_sign(certificate, key_.get(), nullptr) > 0); }
    static void write_certificate(X509* certificate, const std::filesystem::path& file) {
        const File out(std::fopen(file.c_str(), "w"), std::fclose);
        require(out != nullptr && PEM_write_X509(out.get(), certificate) == 1);
    }
    static void write_key(EVP_PKEY* key, const std::filesystem::path& file) {
        const File out(std::fopen(file.c_str(), "w"), std::fclose);
        require(out != nullptr &&
                PEM_write_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
        std::filesystem::permissions(file, std::filesystem::perms::owner_read);
    }

    const std::filesystem::path folder_;
    std::string subject_;
    long serial_ = 0;
    const Key key_;
    const Certificate certificate_;
};

}  // namespace lagan::test
