/* rule_steps.c - what the steps of rules do to a grid, in C and in Python. */
#include "lm/backend/rule_steps.h"

#include <string.h>

static bool sized(grid *out, int rows, int columns)
{
    out->rows = rows;
    out->columns = columns;
    return rows > 0 && columns > 0 && rows <= GRID_SIDE && columns <= GRID_SIDE;
}

/* ---- turns ---- */

static bool flip(const grid *in, int a, grid *out)
{
    (void)a;
    sized(out, in->rows, in->columns);
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) out->cell[i][j] = in->cell[i][in->columns - 1 - j];
    return true;
}

static bool transpose(const grid *in, int a, grid *out)
{
    (void)a;
    sized(out, in->columns, in->rows);
    for (int i = 0; i < out->rows; i++)
        for (int j = 0; j < out->columns; j++) out->cell[i][j] = in->cell[j][i];
    return true;
}

static bool rotate_right(const grid *in, int a, grid *out)
{
    grid t;
    return transpose(in, a, &t) && flip(&t, a, out);
}

static bool rotate_left(const grid *in, int a, grid *out)
{
    grid t;
    return flip(in, a, &t) && transpose(&t, a, out);
}

static bool rotate_half(const grid *in, int a, grid *out)
{
    grid t;
    return rotate_right(in, a, &t) && rotate_right(&t, a, out);
}

static bool anti_transpose(const grid *in, int a, grid *out)
{
    grid t;
    return rotate_half(in, a, &t) && transpose(&t, a, out);
}

static void turn(const grid *in, rule_turn how, bool back, grid *out)
{
    switch (how) {
    case RULE_FLIPPED: flip(in, 0, out); break;
    case RULE_TRANSPOSED: transpose(in, 0, out); break;
    case RULE_TRANSPOSED_FLIPPED:
        if (back)
            rotate_left(in, 0, out);
        else
            rotate_right(in, 0, out);
        break;
    default: *out = *in; break;
    }
}

/* ---- rows: what is done to the left ---- */

static bool push(const grid *in, int a, grid *out)
{
    (void)a;
    sized(out, in->rows, in->columns);
    for (int i = 0; i < in->rows; i++) {
        int n = 0;
        for (int j = 0; j < in->columns; j++)
            if (in->cell[i][j]) out->cell[i][n++] = in->cell[i][j];
        memset(out->cell[i] + n, 0, (size_t)(in->columns - n));
    }
    return true;
}

static bool shift(const grid *in, int a, grid *out)
{
    sized(out, in->rows, in->columns);
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) out->cell[i][j] = j + a < in->columns ? in->cell[i][j + a] : 0;
    return true;
}

static bool sort(const grid *in, int a, grid *out)
{
    (void)a;
    *out = *in;
    for (int i = 0; i < in->rows; i++)
        for (int j = 1; j < in->columns; j++) {
            const unsigned char v = out->cell[i][j];
            int k = j;
            for (; k > 0 && out->cell[i][k - 1] > v; k--) out->cell[i][k] = out->cell[i][k - 1];
            out->cell[i][k] = v;
        }
    return true;
}

static bool first_column(const grid *in, int a, grid *out)
{
    (void)a;
    *out = *in;
    return sized(out, in->rows, 1);
}

static bool left_half(const grid *in, int a, grid *out)
{
    (void)a;
    *out = *in;
    return sized(out, in->rows, (in->columns + 1) / 2);
}

static bool without_last_column(const grid *in, int a, grid *out)
{
    (void)a;
    *out = *in;
    return sized(out, in->rows, in->columns - 1);
}

static bool tile(const grid *in, int a, grid *out)
{
    if (!sized(out, in->rows, a * in->columns)) return false;
    for (int i = 0; i < out->rows; i++)
        for (int j = 0; j < out->columns; j++) out->cell[i][j] = in->cell[i][j % in->columns];
    return true;
}

static bool mirror(const grid *in, int a, grid *out)
{
    (void)a;
    if (!sized(out, in->rows, 2 * in->columns)) return false;
    for (int i = 0; i < out->rows; i++)
        for (int j = 0; j < out->columns; j++) out->cell[i][j] = in->cell[i][j < in->columns ? j : out->columns - 1 - j];
    return true;
}

/* Without columns that are as the one before. */
static bool unique_columns(const grid *in, int a, grid *out)
{
    (void)a;
    int n = 0;
    for (int j = 0; j < in->columns; j++) {
        bool same = j > 0;
        for (int i = 0; same && i < in->rows; i++) same = in->cell[i][j] == in->cell[i][j - 1];
        if (same) continue;
        for (int i = 0; i < in->rows; i++) out->cell[i][n] = in->cell[i][j];
        n++;
    }
    return sized(out, in->rows, n);
}

/* ---- cells ---- */

static int recolor(int v, int a, int b)
{
    return v == a ? b : v;
}
static int swap(int v, int a, int b)
{
    return v == a ? b : v == b ? a : v;
}
static int keep(int v, int a, int b)
{
    return (void)b, v == a ? v : 0;
}
static int paint(int v, int a, int b)
{
    return (void)b, v ? a : 0;
}
static int add(int v, int a, int b)
{
    return (void)b, (v + a) % COLOURS;
}
static int twice(int v, int a, int b)
{
    return (void)a, (void)b, 2 * v % COLOURS;
}
static int even(int v, int a, int b)
{
    return (void)a, (void)b, v % 2 ? 0 : v;
}
static int odd(int v, int a, int b)
{
    return (void)a, (void)b, v % 2 ? v : 0;
}

/* ---- whole grids ---- */

/* The smallest part that holds all cells of colour a; a < 0: all but the background. */
static bool crop_to(const grid *in, int a, grid *out)
{
    int top = GRID_SIDE, left = GRID_SIDE, bottom = -1, right = -1;
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) {
            if (a < 0 ? !in->cell[i][j] : in->cell[i][j] != a) continue;
            top = i < top ? i : top, bottom = i;
            left = j < left ? j : left, right = j > right ? j : right;
        }
    if (bottom < 0 || !sized(out, bottom - top + 1, right - left + 1)) return false;
    for (int i = 0; i < out->rows; i++) memcpy(out->cell[i], in->cell[top + i] + left, (size_t)out->columns);
    return true;
}

static bool crop(const grid *in, int a, grid *out)
{
    (void)a;
    return crop_to(in, -1, out);
}

static bool upscale(const grid *in, int a, grid *out)
{
    if (!sized(out, a * in->rows, a * in->columns)) return false;
    for (int i = 0; i < out->rows; i++)
        for (int j = 0; j < out->columns; j++) out->cell[i][j] = in->cell[i / a][j / a];
    return true;
}

static bool border(const grid *in, int a, grid *out)
{
    if (!sized(out, in->rows + 2, in->columns + 2)) return false;
    for (int i = 0; i < out->rows; i++) {
        memset(out->cell[i], a, (size_t)out->columns);
        if (i > 0 && i <= in->rows) memcpy(out->cell[i] + 1, in->cell[i - 1], (size_t)in->columns);
    }
    return true;
}

static bool frame(const grid *in, int a, grid *out)
{
    *out = *in;
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++)
            if (i == 0 || j == 0 || i == in->rows - 1 || j == in->columns - 1) out->cell[i][j] = (unsigned char)a;
    return true;
}

/* One row with as many cells as have the colour. */
static bool bar(const grid *in, int a, grid *out)
{
    int n = 0;
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) n += in->cell[i][j] == a;
    if (!sized(out, 1, n)) return false;
    memset(out->cell[0], a, (size_t)n);
    return true;
}

/* Marks the cells of one colour that hang together, side by side, with the piece's number; how many there are. */
static int mark_piece(const grid *in, int row, int column, int number, int piece[GRID_SIDE][GRID_SIDE])
{
    int stack[GRID_SIDE * GRID_SIDE], depth = 0, size = 0;
    stack[depth++] = row * GRID_SIDE + column;
    piece[row][column] = number;
    while (depth > 0) {
        static const int down[] = {0, 0, 1, -1}, along[] = {1, -1, 0, 0};
        const int at = stack[--depth], i = at / GRID_SIDE, j = at % GRID_SIDE;
        size++;
        for (int d = 0; d < 4; d++) {
            const int k = i + down[d], l = j + along[d];
            if (k < 0 || l < 0 || k >= in->rows || l >= in->columns) continue;
            if (piece[k][l] || in->cell[k][l] != in->cell[i][j]) continue;
            piece[k][l] = number;
            stack[depth++] = k * GRID_SIDE + l;
        }
    }
    return size;
}

/* Only the largest piece of one colour stays, the first in reading order of equals. */
static bool largest(const grid *in, int a, grid *out)
{
    int piece[GRID_SIDE][GRID_SIDE] = {{0}}, pieces = 0, best = 0, best_size = 0;
    (void)a;
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) {
            if (!in->cell[i][j] || piece[i][j]) continue;
            const int size = mark_piece(in, i, j, ++pieces, piece);
            if (size > best_size) best = pieces, best_size = size;
        }
    sized(out, in->rows, in->columns);
    for (int i = 0; i < in->rows; i++)
        for (int j = 0; j < in->columns; j++) out->cell[i][j] = best && piece[i][j] == best ? in->cell[i][j] : 0;
    return true;
}

/* ---- the table ---- */

const rule_op rule_ops_table[] = {
    {"flip_h", "mirror the grid from left to right", "g = [r[::-1] for r in g]", .change = flip},
    {"flip_v", "turn the grid upside down", "g = g[::-1]", .change = flip, .turn = RULE_TRANSPOSED},
    {"transpose", "exchange rows and columns", "g = [list(r) for r in zip(*g)]", .change = transpose},
    {"anti_transpose", "mirror the grid along its other diagonal", "g = [list(r)[::-1] for r in zip(*g)][::-1]", .change = anti_transpose},
    {"rotate_right", "rotate the grid a quarter turn to the right", "g = [list(r) for r in zip(*g[::-1])]", .change = rotate_right},
    {"rotate_left", "rotate the grid a quarter turn to the left", "g = [list(r) for r in zip(*g)][::-1]", .change = rotate_left},
    {"rotate_half", "rotate the grid by half a turn", "g = [r[::-1] for r in g[::-1]]", .change = rotate_half},
    {"recolor", "replace colour $a by colour $b", "g = [[$b if v == $a else v for v in r] for r in g]", RULE_TWO_COLOURS, 0, 9,
     .cell = recolor},
    {"swap", "exchange colour $a with colour $b", "g = [[$b if v == $a else $a if v == $b else v for v in r] for r in g]", RULE_TWO_COLOURS,
     0, 9, .cell = swap},
    {"keep", "keep colour $a and clear all others", "g = [[v if v == $a else 0 for v in r] for r in g]", RULE_COLOUR, 1, 9, .cell = keep},
    {"paint", "paint everything that is not background in colour $a", "g = [[$a if v else 0 for v in r] for r in g]", RULE_COLOUR, 1, 9,
     .cell = paint},
    {"add", "add $a to every number, beginning again at 0 after 9", "g = [[(v + $a) % 10 for v in r] for r in g]", RULE_AMOUNT, 1, 9,
     .cell = add},
    {"twice", "double every number, keeping its last digit", "g = [[2 * v % 10 for v in r] for r in g]", .cell = twice},
    {"evens", "keep even numbers and clear odd ones", "g = [[0 if v % 2 else v for v in r] for r in g]", .cell = even},
    {"odds", "keep odd numbers and clear even ones", "g = [[v if v % 2 else 0 for v in r] for r in g]", .cell = odd},
    {"fall_left", "let all cells fall to the left", "g = [[v for v in r if v] + [0] * r.count(0) for r in g]", .change = push},
    {"fall_right", "let all cells fall to the right", "g = [[0] * r.count(0) + [v for v in r if v] for r in g]", .change = push,
     .turn = RULE_FLIPPED},
    {"fall_up", "let all cells rise to the top", "g = [list(r) for r in zip(*[[v for v in c if v] + [0] * c.count(0) for c in zip(*g)])]",
     .change = push, .turn = RULE_TRANSPOSED},
    {"fall_down", "let all cells fall to the bottom",
     "g = [list(r) for r in zip(*[[0] * c.count(0) + [v for v in c if v] for c in zip(*g)])]", .change = push,
     .turn = RULE_TRANSPOSED_FLIPPED},
    {"shift_left", "shift the grid left by $a", "g = [(r + [0] * $a)[$a:] for r in g]", RULE_AMOUNT, 1, 3, .change = shift},
    {"shift_right", "shift the grid right by $a", "g = [([0] * $a + r)[:len(r)] for r in g]", RULE_AMOUNT, 1, 3, RULE_FLIPPED, shift},
    {"shift_up", "shift the grid up by $a", "g = (g + [[0] * len(g[0])] * $a)[$a:]", RULE_AMOUNT, 1, 3, RULE_TRANSPOSED, shift},
    {"shift_down", "shift the grid down by $a", "g = ([[0] * len(g[0])] * $a + g)[:len(g)]", RULE_AMOUNT, 1, 3, RULE_TRANSPOSED_FLIPPED,
     shift},
    {"sort_rows", "sort each row in ascending order", "g = [sorted(r) for r in g]", .change = sort},
    {"sort_rows_down", "sort each row in descending order", "g = [sorted(r, reverse=True) for r in g]", .change = sort,
     .turn = RULE_FLIPPED},
    {"sort_columns", "sort each column in ascending order", "g = [list(r) for r in zip(*[sorted(c) for c in zip(*g)])]", .change = sort,
     .turn = RULE_TRANSPOSED},
    {"first_column", "keep the first column alone", "g = [r[:1] for r in g]", .change = first_column},
    {"last_column", "keep the last column alone", "g = [r[-1:] for r in g]", .change = first_column, .turn = RULE_FLIPPED},
    {"first_row", "keep the first row alone", "g = g[:1]", .change = first_column, .turn = RULE_TRANSPOSED},
    {"last_row", "keep the last row alone", "g = g[-1:]", .change = first_column, .turn = RULE_TRANSPOSED_FLIPPED},
    {"left_half", "keep the left half", "g = [r[:(len(r) + 1) // 2] for r in g]", .change = left_half},
    {"top_half", "keep the top half", "g = g[:(len(g) + 1) // 2]", .change = left_half, .turn = RULE_TRANSPOSED},
    {"drop_column", "drop the last column", "g = [r[:-1] for r in g]", .change = without_last_column},
    {"drop_row", "drop the last row", "g = g[:-1]", .change = without_last_column, .turn = RULE_TRANSPOSED},
    {"tile_right", "repeat the grid $a times from left to right", "g = [r * $a for r in g]", RULE_AMOUNT, 2, 3, .change = tile},
    {"tile_down", "repeat the grid $a times from top to bottom", "g = [r[:] for i in range($a) for r in g]", RULE_AMOUNT, 2, 3,
     RULE_TRANSPOSED, tile},
    {"mirror_right", "put the mirror image of the grid to its right", "g = [r + r[::-1] for r in g]", .change = mirror},
    {"mirror_down", "put the mirror image of the grid below it", "g = g + g[::-1]", .change = mirror, .turn = RULE_TRANSPOSED},
    {"unique_columns", "drop columns that repeat the one before",
     "c = [list(r) for r in zip(*g)]\ng = [list(r) for r in zip(*[v for i, v in enumerate(c) if i == 0 or v != c[i - 1]])]",
     .change = unique_columns},
    {"unique_rows", "drop rows that repeat the one before", "g = [r for i, r in enumerate(g) if i == 0 or r != g[i - 1]]",
     .change = unique_columns, .turn = RULE_TRANSPOSED},
    {"crop", "cut out the part that is not background",
     "y = [i for i, r in enumerate(g) if any(r)]\nx = [j for r in g for j, v in enumerate(r) if v]\n"
     "g = [r[min(x):max(x) + 1] for r in g[min(y):max(y) + 1]]",
     .change = crop},
    {"crop_to", "cut out the part that holds colour $a",
     "y = [i for i, r in enumerate(g) if $a in r]\nx = [j for r in g for j, v in enumerate(r) if v == $a]\n"
     "g = [r[min(x):max(x) + 1] for r in g[min(y):max(y) + 1]]",
     RULE_COLOUR, 1, 9, .change = crop_to},
    {"upscale", "enlarge every cell to a square of side $a", "g = [[v for v in r for j in range($a)] for r in g for i in range($a)]",
     RULE_AMOUNT, 2, 3, .change = upscale},
    {"border", "put a border of colour $a around the grid",
     "w = [[$a] * (len(g[0]) + 2)]\ng = w + [[$a] + r + [$a] for r in g] + [r[:] for r in w]", RULE_COLOUR, 1, 9, .change = border},
    {"frame", "paint the outermost cells in colour $a",
     "g = [[$a if i in (0, len(g) - 1) or j in (0, len(r) - 1) else v for j, v in enumerate(r)] for i, r in enumerate(g)]", RULE_COLOUR, 1,
     9, .change = frame},
    {"bar", "draw as many cells of colour $a in one row as there are in the grid", "g = [[$a] * sum(r.count($a) for r in g)]", RULE_COLOUR,
     1, 9, .change = bar},
    {"largest", "keep the largest object and clear everything else",
     "p, best = {}, []\n"
     "for s in [(i, j) for i, r in enumerate(g) for j, v in enumerate(r) if v]:\n"
     "    todo, here = [s] if s not in p else [], []\n"
     "    while todo:\n"
     "        i, j = todo.pop()\n"
     "        if (i, j) in p or not (0 <= i < len(g) and 0 <= j < len(g[0])) or g[i][j] != g[s[0]][s[1]]: continue\n"
     "        p[i, j] = True\n"
     "        here.append((i, j))\n"
     "        todo += [(i, j + 1), (i, j - 1), (i + 1, j), (i - 1, j)]\n"
     "    if len(here) > len(best): best = here\n"
     "g = [[v if (i, j) in best else 0 for j, v in enumerate(r)] for i, r in enumerate(g)]",
     .change = largest},
    {0},
};

bool rule_step_apply(const rule_step *step, const grid *in, grid *out)
{
    const rule_op *op = &rule_ops_table[step->op];
    if (op->cell) {
        sized(out, in->rows, in->columns);
        for (int i = 0; i < in->rows; i++)
            for (int j = 0; j < in->columns; j++)
                out->cell[i][j] = (unsigned char)op->cell(in->cell[i][j], step->number[0], step->number[1]);
        return true;
    }
    if (op->turn == RULE_AS_IT_IS) return op->change(in, step->number[0], out);
    grid turned, changed;
    turn(in, op->turn, false, &turned);
    if (!op->change(&turned, step->number[0], &changed)) return false;
    turn(&changed, op->turn, true, out);
    return true;
}
