/* A library of its own kind: C, compiled with -fexceptions, that calls back. */
int each(int (*f)(int, void *), void *context, int n);

int each(int (*f)(int, void *), void *context, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += f(i, context);
    return sum;
}
