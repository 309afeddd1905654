/* rope.h - turns the pairs of every head by the angles of its token, for the type REAL. */

/* The heads of one token. job->turns [angles, 2, dims / 2] holds cosines and sines; row job->angle[token] belongs to the token. */
static void NAME(rope_token)(const void *tokens, int64_t token)
{
    const rope_job *job = tokens;
    const int64_t heads = job->heads, size = job->head_dim, half = job->how.dims / 2;
    const int64_t apart = job->how.interleaved ? 1 : half, step = job->how.interleaved ? 2 : 1;
    const REAL *cosine = (const REAL *)job->turns + job->angle[token] * 2 * half, *sine = cosine + half;
    for (int64_t head = 0; head < heads; head++) {
        const REAL *x = (const REAL *)job->input + (token * heads + head) * size;
        REAL *y = (REAL *)job->output + (token * heads + head) * size;
        for (int64_t i = 0; i < half; i++) {
            const REAL a = x[i * step], b = x[i * step + apart];
            y[i * step] = a * cosine[i] - b * sine[i];
            y[i * step + apart] = a * sine[i] + b * cosine[i];
        }
        if (size > 2 * half) memcpy(y + 2 * half, x + 2 * half, (size_t)(size - 2 * half) * sizeof *y);
    }
}

/* Cosines, then sines, of a position times each frequency, times the magnitude. */
static void NAME(rope_angles)(const void *angles, int64_t row)
{
    const rope_job *job = angles;
    const int64_t half = job->how.dims / 2;
    const double magnitude = job->how.magnitude != 0 ? job->how.magnitude : 1;
    REAL *cosine = (REAL *)job->turns + row * 2 * half, *sine = cosine + half;
    for (int64_t i = 0; i < half; i++) {
        double radians = (double)job->position[row] * job->frequency[i];
        cosine[i] = (REAL)(magnitude * cos(radians));
        sine[i] = (REAL)(magnitude * (job->backwards ? -sin(radians) : sin(radians)));
    }
}

static void NAME(rope_turn)(const rope_job *job)
{
    const int64_t angles = job->angles * job->how.dims / 2, values = job->tokens * job->heads * job->head_dim;
    az_each(angles > 512 ? job->threads : 1, job->angles, NAME(rope_angles), job);
    az_each(values > AZ_PARALLEL_WORK ? job->threads : 1, job->tokens, NAME(rope_token), job);
}
