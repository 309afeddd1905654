/* rope.h - turns the pairs of every head by the angles of its token, for the type REAL. */

/* `turn` [angles, dims / 2, 2] holds cosine and sine; row `angle[token]` belongs to a token. */
static void NAME(rope_heads)(const rope_job *job, const void *input, const void *turns, void *output)
{
    const int64_t heads = job->heads, size = job->head_dim, half = job->how.dims / 2;
    const int64_t apart = job->how.interleaved ? 1 : half, step = job->how.interleaved ? 2 : 1;
#pragma omp parallel for schedule(static) if (job->tokens * heads * size > AZ_PARALLEL_WORK) num_threads(job->threads)
    for (int64_t token = 0; token < job->tokens; token++) {
        const REAL *cosine = (const REAL *)turns + job->angle[token] * 2 * half, *sine = cosine + half;
        for (int64_t head = 0; head < heads; head++) {
            const REAL *x = (const REAL *)input + (token * heads + head) * size;
            REAL *y = (REAL *)output + (token * heads + head) * size;
            for (int64_t i = 0; i < half; i++) {
                const REAL a = x[i * step], b = x[i * step + apart];
                y[i * step] = a * cosine[i] - b * sine[i];
                y[i * step + apart] = a * sine[i] + b * cosine[i];
            }
            if (size > 2 * half) memcpy(y + 2 * half, x + 2 * half, (size_t)(size - 2 * half) * sizeof *y);
        }
    }
}

/* Cosines, then sines, of position times each frequency. */
static void NAME(rope_turns)(const rope_job *job, void *turns)
{
    const int64_t half = job->how.dims / 2;
#pragma omp parallel for schedule(static) if (job->angles * half > 512) num_threads(job->threads)
    for (int64_t row = 0; row < job->angles; row++) {
        REAL *cosine = (REAL *)turns + row * 2 * half, *sine = cosine + half;
        for (int64_t i = 0; i < half; i++) {
            double radians = (double)job->position[row] * job->frequency[i];
            cosine[i] = (REAL)cos(radians);
            sine[i] = (REAL)(job->backwards ? -sin(radians) : sin(radians));
        }
    }
}
