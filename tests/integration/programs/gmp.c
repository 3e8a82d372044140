/* Big integers, rationals and floats: arithmetic, number theory, formatted output, random numbers of a seed. */
#include <stdio.h> /* before gmp.h, which looks for it */

#include <gmp.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t size)
{
    return malloc(size);
}
static void *reallocate(void *old, size_t old_size, size_t size)
{
    (void)old_size;
    return realloc(old, size);
}
static void release(void *old, size_t size)
{
    memset(old, 0xee, size);
    free(old);
}

int main(void)
{
    mp_set_memory_functions(allocate, reallocate, release);
    mpz_t a, b, c, r;
    mpz_inits(a, b, c, r, NULL);
    printf("%s %d\n", gmp_version, mp_bits_per_limb);
    for (unsigned n = 1; n < 3000; n = n * 3 + 1) {
        mpz_fac_ui(a, n);
        mpz_fib_ui(b, n * 5);
        mpz_gcd(c, a, b);
        gmp_printf("%u: %#Zx %Zd ", n, c, b);
        mpz_mul(r, a, b);
        mpz_tdiv_q(r, r, b);
        printf("%d %zu\n", mpz_cmp(r, a), mpz_sizeinbase(a, 10));
    }
    mpz_ui_pow_ui(a, 2, 521);
    mpz_sub_ui(a, a, 1);
    printf("%d %d\n", mpz_probab_prime_p(a, 25), mpz_jacobi(a, b));
    mpz_set_str(b, "123456789012345678901234567890123456789", 10);
    mpz_powm(r, b, a, a);
    printf("%d\n", mpz_cmp(r, b));
    mpz_invert(r, b, a);
    mpz_sqrtrem(c, r, r);
    gmp_printf("%Zd %30Zd|%-20Zx|\n", c, b, b);
    gmp_randstate_t random;
    gmp_randinit_mt(random);
    gmp_randseed_ui(random, 42);
    for (int i = 64; i < 100000; i *= 5) {
        mpz_urandomb(a, random, i);
        mpz_urandomb(b, random, i / 2);
        mpz_mul(r, a, b);
        mpz_fdiv_qr(c, r, r, a);
        char *text = mpz_get_str(NULL, 62, c);
        printf("%d %zu %.40s %d\n", i, strlen(text), text, mpz_sgn(r));
        free(text);
    }
    mpq_t q, s;
    mpq_inits(q, s, NULL);
    for (unsigned i = 1; i < 30; i++) {
        mpq_set_ui(s, 1, i);
        mpq_add(q, q, s);
    }
    gmp_printf("%Qd\n", q);
    mpf_set_default_prec(400);
    mpf_t f;
    mpf_init(f);
    mpf_sqrt_ui(f, 2);
    gmp_printf("%.100Ff %Fe\n", f, f);
    gmp_fprintf(stderr, "to stderr %Zd\n", b);
    char buffer[100];
    printf("%d %s\n", gmp_snprintf(buffer, sizeof buffer, "%Zd|%s|%5.1f", c, "x", 2.5), "ok");
    mpz_clears(a, b, c, r, NULL);
    mpq_clears(q, s, NULL);
    mpf_clear(f);
    gmp_randclear(random);
    return 0;
}
