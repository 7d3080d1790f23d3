// Device memory: all of it can be had, in pieces that lie apart, aligned as asked, and it comes back.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const uint64_t page = 4096;
static const uint64_t mebibyte = 1 << 20;

// A device of so many bytes, opened, with a context.
struct Bench {
  struct Device d;
  int drm;
  uint32_t context;
};

static void set_up(struct Bench* b, uint64_t memory_bytes) {
  device_add(&b->d, -1, &(struct DeviceOptions){.memory_bytes = memory_bytes});
  b->drm = device_open(&b->d);
  REQUIRE_OK(new_context(b->drm, &b->context));
}

static uint64_t used(const struct Bench* b) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  struct drm_mlaccel_ctx_state s;
  REQUIRE_OK(dev_query(b->drm, &q));
  REQUIRE_OK(ctx_state(b->drm, b->context, &s));
  // There is nobody else.
  CHECK_EQ(q.user_device_bytes, q.memory_used);
  CHECK_EQ(s.memory_bytes, q.memory_used);
  CHECK_EQ(sysfs_number(&b->d, "memory_used"), q.memory_used);
  return q.memory_used;
}

static struct drm_mlaccel_bo_info info_of(const struct Bench* b, uint32_t handle) {
  struct drm_mlaccel_bo_info info;
  REQUIRE_OK(bo_info(b->drm, handle, &info));
  return info;
}

static int take(const struct Bench* b, uint64_t size, uint64_t alignment, uint32_t* handle) {
  return device_bo(b->drm, b->context, size, alignment, handle);
}

static void a_device_is_used_up_to_the_last_page(void) {
  enum { pieces = 16 };
  struct Bench b;
  uint32_t handles[pieces], more;
  set_up(&b, pieces * mebibyte);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < pieces; i++) REQUIRE_OK(take(&b, mebibyte, 0, &handles[i]));
    CHECK_EQ(used(&b), pieces * mebibyte);
    CHECK_ERR(take(&b, page, 0, &more), EDQUOT);
    CHECK_EQ(used(&b), pieces * mebibyte);
    for (int i = 0; i < pieces; i++) CHECK_OK(gem_close(b.drm, handles[i]));
    CHECK_EQ(used(&b), 0);
  }
  REQUIRE_OK(take(&b, pieces * mebibyte, 0, &more));
  CHECK_OK(gem_close(b.drm, more));
  CHECK_ERR(take(&b, pieces * mebibyte + 1, 0, &more), EDQUOT);
  CHECK_ERR(take(&b, UINT64_MAX, 0, &more), EINVAL);
  CHECK_ERR(take(&b, UINT64_MAX - page, 0, &more), EDQUOT);
  CHECK_EQ(used(&b), 0);
  device_remove(&b.d);
}

static void holes_are_not_joined_across_what_lies_between(void) {
  enum { pieces = 16 };
  struct Bench b;
  uint32_t handles[pieces], again[pieces / 2], large;
  set_up(&b, pieces * mebibyte);
  for (int i = 0; i < pieces; i++) REQUIRE_OK(take(&b, mebibyte, 0, &handles[i]));
  // Every second one of those that lie side by side.
  uint32_t at[pieces];
  memset(at, 0, sizeof at);
  for (int i = 0; i < pieces; i++) {
    const uint64_t offset = info_of(&b, handles[i]).pool_offset;
    REQUIRE_EQ(offset % mebibyte, 0);
    REQUIRE_AS(offset / mebibyte, <, pieces);
    REQUIRE_EQ(at[offset / mebibyte], 0);
    at[offset / mebibyte] = handles[i];
  }
  for (int i = 0; i < pieces; i += 2) CHECK_OK(gem_close(b.drm, at[i]));
  CHECK_EQ(used(&b), pieces / 2 * mebibyte);
  // Half of it is free, and there are no two in a row. Nobody has to give anything back to its only user.
  CHECK_ERR(take(&b, 2 * mebibyte, 0, &large), ENOSPC);
  CHECK_EQ(used(&b), pieces / 2 * mebibyte);
  for (int i = 0; i < pieces / 2; i++) CHECK_OK(take(&b, mebibyte, 0, &again[i]));
  CHECK_EQ(used(&b), pieces * mebibyte);
  // A neighbour goes too, and the two holes are one.
  const uint64_t hole = info_of(&b, again[0]).pool_offset;
  const uint64_t beside = hole == 0 ? 1 : hole / mebibyte - 1;
  CHECK_EQ(beside % 2, 1);
  CHECK_OK(gem_close(b.drm, again[0]));
  CHECK_OK(gem_close(b.drm, at[beside]));
  CHECK_OK(take(&b, 2 * mebibyte, 0, &large));
  const uint64_t there = info_of(&b, large).pool_offset;
  CHECK(there == hole || there == beside * mebibyte);
  device_remove(&b.d);
}

static void memory_lies_as_aligned_as_asked(void) {
  struct Bench b;
  set_up(&b, 64 * mebibyte);
  uint32_t odd, handle;
  // Something that no alignment above a page can follow at once.
  REQUIRE_OK(take(&b, page, 0, &odd));
  for (uint64_t alignment = page / 4; alignment <= 2 * mebibyte; alignment *= 2) {
    REQUIRE_OK(take(&b, 3 * page, alignment, &handle));
    const struct drm_mlaccel_bo_info info = info_of(&b, handle);
    CHECK_EQ(info.size, 3 * page);
    CHECK_EQ(info.pool_offset % alignment, 0);
    CHECK_EQ(info.address % alignment, 0);
    CHECK_EQ(info.pool_offset % page, 0);
    CHECK_AS(info.address, !=, 0);
    REQUIRE_OK(take(&b, page, 0, &odd));
  }
  // Larger pages than there are only for what fills one.
  REQUIRE_OK(take(&b, 3 * mebibyte, 4 * mebibyte, &handle));
  CHECK_EQ(info_of(&b, handle).pool_offset % (4 * mebibyte), 0);
  CHECK_ERR(take(&b, 2 * mebibyte, 4 * mebibyte, &handle), EINVAL);
  static const uint64_t impossible[] = {3, 4095, 4097, 12288, UINT64_C(4) << 20, UINT64_C(1) << 63, ~UINT64_C(0)};
  const uint64_t before = used(&b);
  for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++)
    CHECK_ERR(take(&b, page, impossible[i], &handle), EINVAL);
  CHECK_EQ(used(&b), before);
  device_remove(&b.d);
}

struct Piece {
  uint32_t handle;
  uint64_t size, address, offset;
};

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

static void pieces_never_overlap_and_add_up(void) {
  enum { most = 64 };
  const uint64_t memory = 8 * mebibyte, rounds = test_rounds_within(2000, 20000);
  struct Bench b;
  struct Piece pieces[most];
  unsigned count = 0;
  uint64_t sum = 0, random = test_seed(), refused = 0;
  set_up(&b, memory);
  for (uint64_t round = 0; round < rounds && !case_failed(); round++) {
    if (count < most && random_below(&random, 100) < 55) {
      struct Piece p = {.size = (1 + random_below(&random, 64)) * page};
      const uint64_t alignment = random_below(&random, 3) == 0 ? page << random_below(&random, 7) : 0;
      const int result = take(&b, p.size, alignment, &p.handle);
      if (result != 0) {
        CHECK(result == -ENOSPC || (result == -EDQUOT && sum + p.size > memory));
        refused++;
        continue;
      }
      const struct drm_mlaccel_bo_info info = info_of(&b, p.handle);
      p.address = info.address;
      p.offset = info.pool_offset;
      CHECK_AS(p.offset + p.size, <=, memory);
      if (alignment != 0) CHECK_EQ(p.offset % alignment, 0);
      for (unsigned i = 0; i < count; i++) {
        CHECK(!overlap(p.offset, p.size, pieces[i].offset, pieces[i].size));
        CHECK(!overlap(p.address, p.size, pieces[i].address, pieces[i].size));
      }
      pieces[count++] = p;
      sum += p.size;
    } else if (count > 0) {
      const unsigned at = (unsigned)random_below(&random, count);
      CHECK_OK(gem_close(b.drm, pieces[at].handle));
      sum -= pieces[at].size;
      pieces[at] = pieces[--count];
    }
    if (round % 16 == 0) CHECK_EQ(used(&b), sum);
  }
  note("%ju rounds, %ju refused, %u left", (uintmax_t)rounds, (uintmax_t)refused, count);
  close(b.drm);
  CHECK(EVENTUALLY(sysfs_number(&b.d, "memory_used") == 0));
  device_remove(&b.d);
}

// ---- what the worker makes

static void a_queues_memory_is_its_contexts_and_goes_with_it(void) {
  struct Bench b;
  struct ClientQueue q;
  struct WorkerQueue w;
  set_up(&b, 8 * mebibyte);
  REQUIRE_OK(client_queue_try_open(&q, b.drm, b.context, 4, -1));
  worker_queue_map(&w, b.d.worker, b.d.generation, q.fd);
  struct mlaccel_bo_create_for one = {.queue = w.number, .size = 3 * page + 1, .alignment = 8 * page};
  struct mlaccel_bo_create_for two = {.queue = w.number, .size = mebibyte, .flags = MLACCEL_BO_NOWAIT};
  CHECK_OK(bo_create_for(b.d.worker, &one));
  CHECK_OK(bo_create_for(b.d.worker, &two));
  CHECK_EQ(one.pool_offset % (8 * page), 0);
  CHECK_EQ(one.address % (8 * page), 0);
  CHECK(!overlap(one.pool_offset, 4 * page, two.pool_offset, mebibyte));
  CHECK(!overlap(one.address, 4 * page, two.address, mebibyte));
  CHECK_AS(one.bo, !=, two.bo);
  CHECK_EQ(used(&b), mebibyte + 4 * page);
  struct mlaccel_worker_info info = {.device = 0};
  CHECK_OK(worker_info(b.d.worker, &info));
  CHECK_EQ(info.queues, 1);
  CHECK_EQ(info.memory_used, mebibyte + 4 * page);
  CHECK_EQ(info.memory_bytes, 8 * mebibyte);
  CHECK_OK(bo_destroy(b.d.worker, one.bo));
  CHECK_ERR(bo_destroy(b.d.worker, one.bo), ENOENT);
  CHECK_EQ(used(&b), mebibyte);
  // The queue ends; its memory stays until the worker is done with it.
  CHECK_OK(queue_destroy(b.drm, q.number));
  CHECK_EQ(used(&b), mebibyte);
  worker_queue_unmap(&w);
  CHECK_EQ(used(&b), 0);
  struct mlaccel_bo_create_for late = {.queue = w.number, .size = page};
  CHECK_ERR(bo_create_for(b.d.worker, &late), ENOENT);
  CHECK_EQ(used(&b), 0);
  device_remove(&b.d);
}

static void a_clients_memory_is_not_the_workers_to_destroy(void) {
  struct Bench b;
  uint32_t handle;
  int dmabuf;
  struct mlaccel_bo_look look;
  set_up(&b, mebibyte);
  REQUIRE_OK(take(&b, page, 0, &handle));
  REQUIRE_OK(prime_export(b.drm, handle, &dmabuf));
  REQUIRE_OK(bo_look(b.d.worker, dmabuf, &look));
  CHECK_ERR(bo_destroy(b.d.worker, look.bo), ENOENT);
  CHECK_EQ(info_of(&b, handle).state, MLACCEL_BO_RESIDENT);
  device_remove(&b.d);
}

static void a_handed_over_piece_is_held_by_who_has_it(void) {
  struct Bench b;
  uint32_t handle;
  int dmabuf;
  set_up(&b, mebibyte);
  REQUIRE_OK(take(&b, page, 0, &handle));
  REQUIRE_OK(prime_export(b.drm, handle, &dmabuf));
  CHECK_OK(gem_close(b.drm, handle));
  CHECK_EQ(used(&b), page);
  CHECK_OK(prime_import(b.drm, dmabuf, &handle));
  CHECK_EQ(info_of(&b, handle).state, MLACCEL_BO_RESIDENT);
  close(dmabuf);
  CHECK_EQ(used(&b), page);
  CHECK_OK(gem_close(b.drm, handle));
  CHECK(EVENTUALLY(used(&b) == 0));
  device_remove(&b.d);
}

static void a_contexts_memory_outlives_it_until_closed(void) {
  struct Bench b;
  uint32_t handle, other;
  set_up(&b, mebibyte);
  REQUIRE_OK(take(&b, 4 * page, 0, &handle));
  CHECK_OK(ctx_destroy(b.drm, b.context));
  CHECK_EQ(info_of(&b, handle).state, MLACCEL_BO_RESIDENT);
  CHECK_EQ(sysfs_number(&b.d, "memory_used"), 4 * page);
  CHECK_ERR(take(&b, page, 0, &other), ENOENT);
  CHECK_OK(gem_close(b.drm, handle));
  CHECK_EQ(sysfs_number(&b.d, "memory_used"), 0);
  device_remove(&b.d);
}

static void memory_is_lost_with_its_worker(void) {
  struct Bench b;
  uint32_t handle, again;
  set_up(&b, mebibyte);
  REQUIRE_OK(take(&b, mebibyte, 0, &handle));
  CHECK_OK(dev_stop(b.d.control, b.d.number));
  CHECK_EQ(info_of(&b, handle).state, MLACCEL_BO_LOST);
  CHECK_EQ(info_of(&b, handle).address, 0);
  CHECK_EQ(used(&b), 0);
  CHECK_ERR(take(&b, page, 0, &again), ENODEV);
  close(b.d.worker);
  device_start(&b.d);
  // The whole device is there for who asks next.
  CHECK_OK(take(&b, mebibyte, 0, &again));
  CHECK_EQ(info_of(&b, handle).state, MLACCEL_BO_LOST);
  CHECK_EQ(info_of(&b, handle).address, 0);
  CHECK_OK(gem_close(b.drm, handle));
  CHECK_EQ(used(&b), mebibyte);
  CHECK_OK(gem_close(b.drm, again));
  CHECK_EQ(used(&b), 0);
  device_remove(&b.d);
}

static const struct Case cases[] = {
    {"a_device_is_used_up_to_the_last_page", a_device_is_used_up_to_the_last_page, 0},
    {"holes_are_not_joined_across_what_lies_between", holes_are_not_joined_across_what_lies_between, 0},
    {"memory_lies_as_aligned_as_asked", memory_lies_as_aligned_as_asked, 0},
    {"pieces_never_overlap_and_add_up", pieces_never_overlap_and_add_up, 240},
    {"a_queues_memory_is_its_contexts_and_goes_with_it", a_queues_memory_is_its_contexts_and_goes_with_it, 0},
    {"a_clients_memory_is_not_the_workers_to_destroy", a_clients_memory_is_not_the_workers_to_destroy, 0},
    {"a_handed_over_piece_is_held_by_who_has_it", a_handed_over_piece_is_held_by_who_has_it, 0},
    {"a_contexts_memory_outlives_it_until_closed", a_contexts_memory_outlives_it_until_closed, 0},
    {"memory_is_lost_with_its_worker", memory_is_lost_with_its_worker, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
