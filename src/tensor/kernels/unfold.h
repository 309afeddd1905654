/* unfold.h - images to columns and back, for the type REAL. Columns are [channel, row and column in the window, window]. */

/* The line of element (row, column) of every window of one image plane; folding adds the line to the plane instead. */
static void NAME(unfold_line)(const window *w, int64_t row, int64_t column, bool fold, REAL *plane, REAL *line)
{
    const int64_t step = w->how.stride[1];
    const extent down = inside(w, 0, row, w->height), across = inside(w, 1, column, w->width);
    if (!fold) memset(line, 0, (size_t)(w->out[0] * w->out[1]) * sizeof *line);
    for (int64_t i = down.low; i < down.high; i++) {
        REAL *x = plane + (i * w->how.stride[0] + row - w->how.padding[0]) * w->width + column - w->how.padding[1],
             *y = line + i * w->out[1];
        if (fold)
            for (int64_t j = across.low; j < across.high; j++) x[j * step] += y[j];
        else
            for (int64_t j = across.low; j < across.high; j++) y[j] = x[j * step];
    }
}

/* All planes; one thread has a plane to itself. */
static void NAME(unfold_planes)(const window *w, bool fold, void *images, void *columns, int threads)
{
    const int64_t planes = w->images * w->channels, windows = w->out[0] * w->out[1], elements = w->size[0] * w->size[1];
#pragma omp parallel for schedule(static) if (planes * elements * windows > AZ_PARALLEL_WORK) num_threads(threads)
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t element = 0; element < elements; element++) NAME(unfold_line)
    (w, element / w->size[1], element % w->size[1], fold, (REAL *)images + plane * w->height * w->width,
     (REAL *)columns + (plane * elements + element) * windows);
}

/* Position, in all of x, of the first greatest element of each window (no padding). */
static void NAME(find_maxima)(const window *w, const void *images, int32_t *found)
{
    const REAL *x = images;
    const int64_t windows = w->out[0] * w->out[1];
    for (int64_t at = 0; at < w->images * w->channels * windows; at++) {
        const int64_t down = at % windows / w->out[1] * w->how.stride[0], across = at % w->out[1] * w->how.stride[1];
        const int64_t corner = at / windows * w->height * w->width + down * w->width + across;
        int64_t best = corner;
        for (int64_t row = 0; row < w->size[0]; row++)
            for (int64_t column = 0; column < w->size[1]; column++)
                if (x[corner + row * w->width + column] > x[best]) best = corner + row * w->width + column;
        found[at] = (int32_t)best;
    }
}
