/* blocks.h - products of cache-sized blocks for the real type REAL, in vectors of VECTOR_BYTES; NAME(x) gives each function its suffix.
 * block: c is cut into tiles of at most ROWS x 2 vectors, whose sums stay in registers while k runs. */

enum { NAME(LANES) = VECTOR_BYTES / sizeof(REAL) };

/* Unaligned, and allowed to alias the scalars it is loaded from. */
typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

static inline NAME(vector) NAME(load)(const REAL *x)
{
    return *(const NAME(vector) *)x;
}

static inline void NAME(store)(REAL *x, NAME(vector) value)
{
    *(NAME(vector) *)x = value;
}

/* Halves are added until one lane is left. */
static inline REAL NAME(sum_lanes)(NAME(vector) x)
{
    REAL lane[NAME(LANES)];
    NAME(store)(lane, x);
    for (int half = NAME(LANES) / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static REAL NAME(row_dot)(int64_t n, const REAL *x, const REAL *y)
{
    enum { L = NAME(LANES) };
    NAME(vector) sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; u++) sum[u] += NAME(load)(x + i + u * L) * NAME(load)(y + i + u * L);
    for (; i + L <= n; i += L) sum[0] += NAME(load)(x + i) * NAME(load)(y + i);
    REAL rest = 0;
    for (; i < n; i++) rest += x[i] * y[i];
    return NAME(sum_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

/* `rows` products at once, known to the compiler; each is summed as it would be alone. */
static inline __attribute__((always_inline)) void NAME(dots)(int rows, int64_t n, const REAL *a, int64_t lda, const REAL *x, REAL *y)
{
    enum { L = NAME(LANES), ROWS = 4 };
    NAME(vector) even[ROWS] = {{0}}, odd[ROWS] = {{0}};
    int64_t i = 0;
    for (; i + 2 * L <= n; i += 2 * L) {
        const NAME(vector) x0 = NAME(load)(x + i), x1 = NAME(load)(x + i + L);
        for (int r = 0; r < rows; r++) {
            even[r] += NAME(load)(a + r * lda + i) * x0;
            odd[r] += NAME(load)(a + r * lda + i + L) * x1;
        }
    }
    for (; i + L <= n; i += L)
        for (int r = 0; r < rows; r++) even[r] += NAME(load)(a + r * lda + i) * NAME(load)(x + i);
    REAL lane[ROWS][L];
    for (int r = 0; r < rows; r++) NAME(store)(lane[r], even[r] + odd[r]);
    for (int half = L / 2; half > 0; half /= 2)
        for (int r = 0; r < rows; r++)
            for (int l = 0; l < half; l++) lane[r][l] += lane[r][l + half];
    for (int r = 0; r < rows; r++) {
        y[r] = lane[r][0];
        for (int64_t j = i; j < n; j++) y[r] += a[r * lda + j] * x[j];
    }
}

static void NAME(mat_vec)(int64_t m, int64_t n, const REAL *a, int64_t lda, const REAL *x, REAL *y)
{
    int64_t i = 0;
    for (; i + 4 <= m; i += 4) NAME(dots)(4, n, a + i * lda, lda, x, y + i);
    for (; i < m; i++) NAME(dots)(1, n, a + i * lda, lda, x, y + i);
}

/* y [wide vectors] += x a, kept in registers while the rows of a stream by. */
static inline __attribute__((always_inline)) void NAME(columns)(int wide, int64_t m, const REAL *x, const REAL *a, int64_t lda, REAL *y)
{
    enum { L = NAME(LANES), WIDEST = 8 };
    NAME(vector) sum[WIDEST];
    for (int u = 0; u < wide; u++) sum[u] = NAME(load)(y + u * L);
    for (int64_t i = 0; i < m; i++)
        for (int u = 0; u < wide; u++) sum[u] += x[i] * NAME(load)(a + i * lda + u * L);
    for (int u = 0; u < wide; u++) NAME(store)(y + u * L, sum[u]);
}

static void NAME(vec_mat)(int64_t m, int64_t n, const REAL *x, const REAL *a, int64_t lda, REAL *y)
{
    enum { L = NAME(LANES) };
    int64_t j = 0;
    for (; j + 8 * L <= n; j += 8 * L) NAME(columns)(8, m, x, a + j, lda, y + j);
    for (; j + 4 * L <= n; j += 4 * L) NAME(columns)(4, m, x, a + j, lda, y + j);
    for (; j + L <= n; j += L) NAME(columns)(1, m, x, a + j, lda, y + j);
    for (int64_t i = 0; i < m && j < n; i++)
        for (int64_t column = j; column < n; column++) y[column] += x[i] * a[i * lda + column];
}

/* c [rows, 2 vectors] += a b with `rows` known to the compiler. */
static inline __attribute__((always_inline)) void NAME(wide_tile)(int rows, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t ldb,
                                                                  REAL *c, int64_t ldc)
{
    enum { L = NAME(LANES), ROWS = 6 };
    NAME(vector) sum[ROWS][2];
    for (int i = 0; i < rows; i++) {
        sum[i][0] = NAME(load)(c + i * ldc);
        sum[i][1] = NAME(load)(c + i * ldc + L);
    }
    for (int64_t p = 0; p < k; p++) {
        NAME(vector) b0 = NAME(load)(b + p * ldb), b1 = NAME(load)(b + p * ldb + L);
        const REAL *ap = a.data + p * a.column;
        for (int i = 0; i < rows; i++) {
            sum[i][0] += ap[i * a.row] * b0;
            sum[i][1] += ap[i * a.row] * b1;
        }
    }
    for (int i = 0; i < rows; i++) {
        NAME(store)(c + i * ldc, sum[i][0]);
        NAME(store)(c + i * ldc + L, sum[i][1]);
    }
}

static inline __attribute__((always_inline)) void NAME(narrow_tile)(int rows, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t ldb,
                                                                    REAL *c, int64_t ldc)
{
    enum { ROWS = 6 };
    NAME(vector) sum[ROWS];
    for (int i = 0; i < rows; i++) sum[i] = NAME(load)(c + i * ldc);
    for (int64_t p = 0; p < k; p++) {
        NAME(vector) bp = NAME(load)(b + p * ldb);
        const REAL *ap = a.data + p * a.column;
        for (int i = 0; i < rows; i++) sum[i] += ap[i * a.row] * bp;
    }
    for (int i = 0; i < rows; i++) NAME(store)(c + i * ldc, sum[i]);
}

/* One strip of `rows` rows of c. */
static inline __attribute__((always_inline)) void NAME(strip)(int rows, int64_t n, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t ldb,
                                                              REAL *c, int64_t ldc)
{
    enum { L = NAME(LANES) };
    int64_t j = 0;
    for (; j + 2 * L <= n; j += 2 * L) NAME(wide_tile)(rows, k, a, b + j, ldb, c + j, ldc);
    for (; j + L <= n; j += L) NAME(narrow_tile)(rows, k, a, b + j, ldb, c + j, ldc);
    if (j == n) return;
    for (int i = 0; i < rows; i++)
        for (int64_t p = 0; p < k; p++) {
            REAL ap = a.data[i * a.row + p * a.column];
            for (int64_t column = j; column < n; column++) c[i * ldc + column] += ap * b[p * ldb + column];
        }
}

static void NAME(block)(int64_t m, int64_t n, int64_t k, NAME(az_matrix) a, const REAL *b, int64_t ldb, REAL *c, int64_t ldc)
{
    enum { ROWS = 6 };
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS, a.data += ROWS * a.row) NAME(strip)(ROWS, n, k, a, b, ldb, c + i * ldc, ldc);
    if (m - i >= 4) {
        NAME(strip)(4, n, k, a, b, ldb, c + i * ldc, ldc);
        a.data += 4 * a.row;
        i += 4;
    }
    if (m - i >= 2) {
        NAME(strip)(2, n, k, a, b, ldb, c + i * ldc, ldc);
        a.data += 2 * a.row;
        i += 2;
    }
    if (i < m) NAME(strip)(1, n, k, a, b, ldb, c + i * ldc, ldc);
}

/* Columns j .. j + width - 1 as one panel; the matrix has rows whose elements lie together, columns whose elements do, or neither. */
static void NAME(pack_panel)(int64_t rows, int64_t count, NAME(az_matrix) from, REAL scale, REAL *to)
{
    enum { L = NAME(LANES), WIDTH = 2 * L };
    if (from.column == 1 && count == WIDTH) {
        for (int64_t i = 0; i < rows; i++) {
            const REAL *x = from.data + i * from.row;
            NAME(store)(to + i * WIDTH, scale * NAME(load)(x));
            NAME(store)(to + i * WIDTH + L, scale * NAME(load)(x + L));
        }
        return;
    }
    for (int64_t c = 0; c < count; c++)
        for (int64_t i = 0; i < rows; i++) to[i * WIDTH + c] = scale * from.data[i * from.row + c * from.column];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = count; c < WIDTH; c++) to[i * WIDTH + c] = 0;
}

static void NAME(pack)(int64_t rows, int64_t columns, NAME(az_matrix) from, REAL scale, REAL *to)
{
    enum { WIDTH = 2 * NAME(LANES) };
    for (int64_t j = 0; j < columns; j += WIDTH, to += rows * WIDTH, from.data += WIDTH * from.column)
        NAME(pack_panel)(rows, columns - j < WIDTH ? columns - j : WIDTH, from, scale, to);
}
