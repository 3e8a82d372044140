/* Runs SQL on a database in memory and one in a file, with functions and collations of C's. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int row(void *context, int count, char **values, char **names)
{
    ++*(int *)context;
    for (int i = 0; i < count; i++)
        printf("%s%s=%s", i ? "|" : "", names[i], values[i] ? values[i] : "NULL");
    putchar('\n');
    return 0;
}

static void rot13(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    char *text = strdup((const char *)sqlite3_value_text(values[0]));
    for (char *c = text; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)('a' + (*c - 'a' + 13) % 26);
    sqlite3_result_text(context, text, -1, free);
}

static void step(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    double *total = sqlite3_aggregate_context(context, sizeof *total);
    *total = *total * 0.5 + sqlite3_value_double(values[0]);
}

static void final(sqlite3_context *context)
{
    sqlite3_result_double(context, *(double *)sqlite3_aggregate_context(context, sizeof(double)));
}

static int backwards(void *context, int n, const void *a, int m, const void *b)
{
    (void)context;
    int order = memcmp(b, a, (size_t)(n < m ? n : m));
    return order ? order : m - n;
}

static void run(sqlite3 *db, const char *sql)
{
    char *message = NULL;
    int rows = 0;
    int rc = sqlite3_exec(db, sql, row, &rows, &message);
    printf("-> %d, %d rows%s%s\n", rc, rows, message ? ": " : "", message ? message : "");
    sqlite3_free(message);
}

static const char *const statements[] = {
    "create table t(a integer primary key, b text collate nocase, c real, d blob)",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) "
    "insert into t select i, printf('%04x', i * 7919 % 1000), i / 7.0, zeroblob(i % 5) from n",
    "create index tb on t(b)",
    "select count(*), sum(c), avg(length(d)), min(b), max(b), group_concat(a, '-') from t where a % 50 = 0",
    "select b, count(*) n from t group by substr(b, 1, 2) having n > 30 order by n desc, b limit 5",
    "select a, c, row_number() over (order by c desc), lag(a, 2) over (order by a) from t where a > 494",
    "select rot13('hello'), decay(c), typeof(d) from t",
    "select a from t where b like '00%' order by b collate backwards, a limit 5",
    "explain query plan select * from t where b = '00c8'",
    "create virtual table f using fts5(body)",
    "insert into f values('a crate is a box'), ('the boxes are full'), ('nothing of the kind')",
    "select rowid, highlight(f, 0, '[', ']') from f('box*') order by rank",
    "select json_extract('{\"a\":[1,2,{\"b\":3.5}]}', '$.a[2].b'), json_group_array(a) from t where a < 5",
    "select date('2024-02-29', '+1 year'), strftime('%j %W', '2023-12-31'), unixepoch('1970-01-02')",
    "select sin(1), sqrt(2), 5 / 0, 9223372036854775807 + 1, x'414243' || 'd', abs(-3), round(2.5)",
    "create trigger k after delete on t begin insert into f values('deleted ' || old.a); end",
    "begin; delete from t where a < 10; savepoint s; delete from t; rollback to s; commit",
    "select count(*) from t; select count(*) from f",
    "insert into t(a) values(20)",
    "select * from nowhere",
    "pragma integrity_check",
    "vacuum",
};

int main(void)
{
    static const char *const files[] = {":memory:", "test.db"};
    for (size_t i = 0; i < 2; i++) {
        sqlite3 *db;
        remove("test.db");
        if (sqlite3_open(files[i], &db))
            return 1;
        sqlite3_create_function(db, "rot13", 1, SQLITE_UTF8, NULL, rot13, NULL, NULL);
        sqlite3_create_function(db, "decay", 1, SQLITE_UTF8, NULL, NULL, step, final);
        sqlite3_create_collation(db, "backwards", SQLITE_UTF8, NULL, backwards);
        for (size_t j = 0; j < sizeof statements / sizeof *statements; j++)
            run(db, statements[j]);
        printf("%d changes\n", sqlite3_total_changes(db));
        if (sqlite3_close(db))
            return 2;
    }
    remove("test.db");
    return 0;
}
