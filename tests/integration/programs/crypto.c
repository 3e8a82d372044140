/* Digests, ciphers, MACs, key derivation, big numbers, signatures, ASN.1 of libcrypto, with known keys. */
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

static unsigned char data[5000];

static void show(const char *name, const unsigned char *bytes, size_t n)
{
    printf("%s:", name);
    for (size_t i = 0; i < n; i++)
        printf("%02x", bytes[i]);
    putchar('\n');
}

static int digests(void)
{
    static const char *const names[] = {"MD5",       "SHA1",     "SHA224",     "SHA256",     "SHA384",
                                        "SHA512",    "SHA3-256", "SHAKE128",   "BLAKE2b512", "BLAKE2s256",
                                        "RIPEMD160", "SM3",      "SHA512-256", "no such"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unsigned char out[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        EVP_MD *md = EVP_MD_fetch(NULL, names[i], NULL);
        if (!md || !EVP_Digest(data, sizeof data - i, out, &n, md, NULL))
            printf("%s: none\n", names[i]);
        else
            show(names[i], out, n);
        EVP_MD_free(md);
    }
    ERR_clear_error();
    return 0;
}

static int ciphers(void)
{
    static const char *const names[] = {"AES-128-CBC",       "AES-256-CTR",  "AES-256-GCM",      "AES-128-XTS",
                                        "CHACHA20-POLY1305", "DES-EDE3-CBC", "CAMELLIA-256-CBC", "ARIA-128-CBC",
                                        "SM4-CBC",           "AES-128-OCB"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unsigned char key[64], iv[16] = {1, 2, 3}, out[sizeof data + 64], back[sizeof data + 64], tag[16] = {0};
        int n = 0, m = 0, k = 0, l = 0;
        for (int j = 0; j < 64; j++)
            key[j] = (unsigned char)(j * 7 + (int)i);
        EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, names[i], NULL);
        if (!cipher) {
            printf("%s: none\n", names[i]);
            continue;
        }
        EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
        int is_aead = EVP_CIPHER_get_flags(cipher) & EVP_CIPH_FLAG_AEAD_CIPHER;
        if (!EVP_EncryptInit_ex2(c, cipher, key, iv, NULL) || !EVP_EncryptUpdate(c, out, &n, data, sizeof data) ||
            !EVP_EncryptFinal_ex(c, out + n, &m))
            return 1;
        if (is_aead)
            EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, tag);
        EVP_CIPHER_CTX_reset(c);
        if (!EVP_DecryptInit_ex2(c, cipher, key, iv, NULL) ||
            (is_aead && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, 16, tag) <= 0) ||
            !EVP_DecryptUpdate(c, back, &k, out, n + m) || !EVP_DecryptFinal_ex(c, back + k, &l))
            return 2;
        printf("%s %d %d ", names[i], n + m, k + l == (int)sizeof data && !memcmp(back, data, sizeof data));
        show("tail", out + n + m - 16, 16);
        EVP_CIPHER_CTX_free(c);
        EVP_CIPHER_free(cipher);
    }
    ERR_clear_error();
    return 0;
}

static int numbers(void)
{
    BN_CTX *context = BN_CTX_new();
    BIGNUM *p = NULL, *g = BN_new(), *r = BN_new();
    BN_dec2bn(&p, "115792089237316195423570985008687907853269984665640564039457584007908834671663");
    BN_set_word(g, 65537);
    BN_mod_exp(r, g, p, p, context);
    printf("%d ", BN_check_prime(p, context, NULL));
    BN_mod_inverse(r, r, p, context);
    BN_mul(r, r, p, context);
    char *text = BN_bn2dec(r);
    puts(text);
    OPENSSL_free(text);
    BN_free(p);
    BN_free(g);
    BN_free(r);
    BN_CTX_free(context);
    return 0;
}

/* Signs with a key and checks; only deterministic signatures are printed. */
static int sign(const char *name, EVP_PKEY *key, const EVP_MD *md, int is_deterministic)
{
    unsigned char out[1024];
    size_t n = sizeof out;
    if (!key)
        return 3;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(c, NULL, md, NULL, key) <= 0 || EVP_DigestSign(c, out, &n, data, 1000) <= 0)
        return 4;
    EVP_MD_CTX_reset(c);
    if (EVP_DigestVerifyInit(c, NULL, md, NULL, key) <= 0)
        return 5;
    printf("%s verifies: %d", name, EVP_DigestVerify(c, out, n, data, 1000));
    EVP_MD_CTX_reset(c);
    EVP_DigestVerifyInit(c, NULL, md, NULL, key);
    printf(", other data: %d\n", EVP_DigestVerify(c, out, n, data, 999) == 1);
    if (is_deterministic)
        show(name, out, n);
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return 0;
}

static int signatures(void)
{
    unsigned char seed[32];
    memset(seed, 9, sizeof seed);
    int rc = sign("ED25519", EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32), NULL, 1);
    rc = rc ? rc : sign("RSA", EVP_RSA_gen(1024), EVP_sha256(), 0);
    rc = rc ? rc : sign("P-256", EVP_EC_gen("P-256"), EVP_sha384(), 0);
    EVP_PKEY *mac = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, seed, 32);
    unsigned char out[64];
    size_t n = sizeof out;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!EVP_DigestSignInit(c, NULL, EVP_sha512(), NULL, mac) || !EVP_DigestSign(c, out, &n, data, sizeof data))
        return 6;
    show("HMAC", out, n);
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(mac);
    return rc;
}

static int encodings(void)
{
    unsigned char seed[32], out[64];
    memset(seed, 5, sizeof seed);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, seed, 32);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    PEM_write_bio_PUBKEY(bio, key);
    char *text;
    long n = BIO_get_mem_data(bio, &text);
    fwrite(text, 1, (size_t)n, stdout);
    EVP_PKEY *back = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    printf("%d\n", EVP_PKEY_eq(key, back));
    EVP_PKEY_print_private(BIO_new_fp(stdout, BIO_NOCLOSE), back, 2, NULL);
    EVP_PKEY_free(back);
    EVP_PKEY_free(key);
    BIO_free(bio);
    PKCS5_PBKDF2_HMAC("password", 8, (const unsigned char *)"salt", 4, 1000, EVP_sha256(), 32, out);
    show("PBKDF2", out, 32);
    EVP_PBE_scrypt("password", 8, (const unsigned char *)"salt", 4, 16, 8, 1, 1 << 25, out, 64);
    show("scrypt", out, 64);
    return 0;
}

int main(void)
{
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * i >> 3);
    int rc = digests();
    rc = rc ? rc : ciphers();
    rc = rc ? rc : numbers();
    rc = rc ? rc : signatures();
    rc = rc ? rc : encodings();
    unsigned char random[8];
    printf("%d\n", RAND_bytes(random, sizeof random));
    EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, data, 7);
    char message[256];
    ERR_error_string_n(ERR_peek_error(), message, sizeof message);
    puts(message);
    return rc;
}
