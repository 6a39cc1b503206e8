// Builds the native half: `zig build` (the two libraries), `zig build test`, `zig build targets`, `zig build --help`.
//
// Sources are found by listing, so a new file needs no edit here:
//     csrc/*.c  csrc/ref/*.c  csrc/cpu/*.c      compiled once, for the target's baseline CPU
//     csrc/cpu/isa/*.c                          CPU kernels: compiled once for each instruction set of `x86` or `arm`
//     tests/native/*.c                          unit tests: each is a program with its own main
// There is no link-time optimization: an inline function merged from an AVX-512 object into shared code would be an
// illegal instruction on an older CPU.
const std = @import("std");

/// One way to compile csrc/cpu/isa/*.c: the file sees -DRZ_ISA=name and the features as clang's own macros.
const Isa = struct { name: []const u8, features: []const []const u8 = &.{} };
const avx2 = [_][]const u8{ "avx2", "fma", "f16c" };
const avx512 = avx2 ++ [_][]const u8{ "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni" };
const x86 = [_]Isa{
    .{ .name = "base" },
    .{ .name = "avx2", .features = &avx2 },
    .{ .name = "avx512", .features = &avx512 },
};
const arm = [_]Isa{
    .{ .name = "base" },
    .{ .name = "dotprod", .features = &.{"dotprod"} },
    .{ .name = "i8mm", .features = &.{ "dotprod", "i8mm" } },
};

/// Contraction stays off so that a sum has the same bits from every compiler and at every optimization level;
/// a kernel that wants a fused multiply-add says so with an intrinsic.
const flags = [_][]const u8{
    "-std=c23", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-ffp-contract=off",
};

const published_targets = [_][]const u8{
    "x86_64-linux-gnu.2.28", "aarch64-linux-gnu.2.28", "aarch64-macos", "x86_64-windows-gnu",
};

const Source = struct { file: []const u8, flags: []const []const u8 };

pub fn build(b: *std.Build) void {
    // Without a default target zig compiles for this machine's CPU, and the library would not load on an older one.
    const target = b.standardTargetOptions(.{ .default_target = .{
        .cpu_model = .baseline,
        .os_tag = .linux,
        .abi = .gnu,
        .glibc_version = .{ .major = 2, .minor = 28, .patch = 0 },
    } });
    const optimize = b.option(std.builtin.Optimize, "optimize", "of librealizar (default: fast)") orelse .fast;
    const tsan = b.option(bool, "tsan", "unit tests: thread sanitizer in place of UBSan") orelse false;
    const cuda = findCuda(b);

    const release = library(b, "realizar", target, optimize, cuda);
    const for_tests = library(b, "realizar_test", target, .safe, cuda); // UBSan's checks trap; RZ_TEST adds rz_test_*
    b.installArtifact(release);
    b.installArtifact(for_tests);
    b.step("release", "only lib/librealizar").dependOn(&b.addInstallArtifact(release, .{}).step);

    const layout = b.step("layout", "bin/abi_layout: prints the struct layout of realizar.h, for the ABI test");
    const replay = b.step("replay", "bin/replay: recorded calls on two executors of a library");
    const unit = b.step("test", "native unit tests, under UBSan");
    addNativeTests(b, target, tsan, &.{ .{ "abi_layout", layout }, .{ "replay", replay } }, unit);

    const targets = b.step("targets", "compile the library for every published target");
    for (published_targets) |triple| {
        const query = std.Build.parseTargetQuery(.{ .arch_os_abi = triple, .cpu_features = "baseline" }) catch
            @panic("bad published target");
        targets.dependOn(&library(b, "realizar", b.resolveTargetQuery(query), .fast, null).step);
    }

    const listing = b.addWriteFiles().add("sources.json", sourcesJson(b, sources(b, target, true)));
    b.step("sources", "zig-out/sources.json: each source with its flags, for other compilers (npm run fuzz)")
        .dependOn(&b.addInstallFile(listing, "sources.json").step);
}

fn library(
    b: *std.Build,
    name: []const u8,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.Optimize,
    cuda: ?Cuda,
) *std.Build.Step.Compile {
    const lib = b.addLibrary(.{
        .name = name,
        .linkage = .dynamic,
        .root_module = engine(b, target, optimize, optimize == .safe, false, cuda),
    });
    lib.link_z_defs = true; // a function that nobody defines is an error here, not at dlopen
    return lib;
}

/// The whole engine as one module. With `testing`, the rz_test_* hooks are in.
fn engine(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.Optimize,
    testing: bool,
    tsan: bool,
    cuda: ?Cuda,
) *std.Build.Module {
    const m = cModule(b, target, optimize, tsan);
    if (cuda) |c| addCuda(b, m, c, testing);
    for (sources(b, target, testing)) |s| m.addCSourceFile(.{ .file = b.path(s.file), .flags = s.flags });
    return m;
}

/// How to compile cuda/*.cu. Without nvcc there is the host half alone, for its unit tests.
const Cuda = struct { nvcc: []const u8 = "", code: []const u8 = "stub" };
const all_code = "sm_80,sm_86,sm_89,sm_90a,sm_100,sm_120,ptx";

/// -Dcuda=sm_90a embeds code for one GPU architecture, -Dcuda=sm_90a,ptx also what a driver can compile for any.
fn findCuda(b: *std.Build) ?Cuda {
    const help = "GPU code to embed: none (default), all, or a list: sm_90a,ptx";
    const option = b.option([]const u8, "cuda", help) orelse "none";
    const code = if (std.mem.eql(u8, option, "all")) all_code else option;
    const asked = b.option([]const u8, "nvcc", "path of nvcc (default: CUDA_HOME, `npm run setup:cuda`, PATH)");
    if (std.mem.eql(u8, code, "none")) return null;
    const nvcc = asked orelse foundNvcc(b) orelse {
        b.default_step.dependOn(&b.addFail("-Dcuda: no nvcc: `npm run setup:cuda` brings one, or -Dnvcc=PATH").step);
        return null;
    };
    return .{ .nvcc = nvcc, .code = code };
}

fn foundNvcc(b: *std.Build) ?[]const u8 {
    const own = ".tools/cuda/nvidia/cu13/bin/nvcc";
    if (b.graph.environ_map.get("CUDA_HOME")) |home| return b.fmt("{s}/bin/nvcc", .{home});
    if (b.root.access(b.graph.io, own, .{})) |_| return own else |_| {}
    return b.findProgram(.{ .names = &.{"nvcc"} });
}

/// Host code, and of each kernel family two compressed fatbins, which cuda/modules.c embeds: machine code, and PTX that
/// the driver compiles. One that was not asked for is an empty file.
fn addCuda(b: *std.Build, m: *std.Build.Module, cuda: Cuda, testing: bool) void {
    m.addCMacro("RZ_CUDA", "1");
    m.addCMacro("RZ_CUDA_CODE", b.fmt("\"{s}\"", .{cuda.code}));
    m.addIncludePath(b.path("cuda"));
    for (cFiles(b, "cuda")) |file| m.addCSourceFile(.{ .file = b.path(file), .flags = commonFlags(b, testing) });
    var native: std.ArrayList([]const u8) = .empty;
    var ptx: std.ArrayList([]const u8) = .empty;
    var names = std.mem.tokenizeScalar(u8, if (cuda.nvcc.len == 0) "" else cuda.code, ',');
    while (names.next()) |name| {
        const sm = std.mem.trimStart(u8, name, "sm_");
        if (std.mem.eql(u8, name, "ptx")) {
            ptx.append(b.allocator, "-gencode=arch=compute_80,code=compute_80") catch @panic("OOM");
        } else {
            const arg = b.fmt("-gencode=arch=compute_{0s},code=sm_{0s}", .{sm});
            native.append(b.allocator, arg) catch @panic("OOM");
        }
    }
    for (filesOf(b, "cuda", ".cu")) |file| {
        addFatbin(b, m, cuda.nvcc, file, "native", native.items);
        addFatbin(b, m, cuda.nvcc, file, "ptx", ptx.items);
    }
}

fn addFatbin(
    b: *std.Build,
    m: *std.Build.Module,
    nvcc: []const u8,
    file: []const u8,
    kind: []const u8,
    code: []const []const u8,
) void {
    const name = b.fmt("{s}.{s}.fatbin", .{ std.fs.path.stem(file), kind });
    const none: ?[]const u8 = if (nvcc.len == 0) "stub" else if (code.len == 0) "" else null;
    if (none) |content| return m.addEmbedPath(b.addWriteFiles().add(name, content).dirname());
    const run = b.addSystemCommand(&.{ nvcc, "-fatbin", "-O3", "-std=c++17", "--compress-mode=size" });
    run.addArgs(code);
    run.addArg("-o");
    m.addEmbedPath(run.addOutputFileArg(name).dirname());
    run.addArgs(&.{ "-MD", "-MF" });
    _ = run.addDepFileOutputArg(b.fmt("{s}.d", .{name}));
    run.addFileArg(b.path(file));
}

fn cModule(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    optimize: std.builtin.Optimize,
    tsan: bool,
) *std.Build.Module {
    const m = b.createModule(.{
        .target = target,
        .optimize = optimize,
        .link_libc = true,
        .pic = true,
        .sanitize_thread = tsan,
        .sanitize_c = if (tsan) .off else null,
    });
    m.addIncludePath(b.path("csrc"));
    return m;
}

/// Every .c file of tests/native becomes a program linked with the engine's objects and run; but those of `tools`
/// are installed for the TypeScript suite, without the engine.
fn addNativeTests(
    b: *std.Build,
    target: std.Build.ResolvedTarget,
    tsan: bool,
    tools: []const struct { []const u8, *std.Build.Step },
    unit: *std.Build.Step,
) void {
    const objects = b.addLibrary(.{
        .name = "realizar_unit",
        .linkage = .static,
        .root_module = engine(b, target, .debug, true, tsan, .{}),
    });
    for (cFiles(b, "tests/native")) |file| {
        const name = std.fs.path.stem(file);
        const tool = for (tools) |t| {
            if (std.mem.eql(u8, name, t[0])) break t[1];
        } else null;
        const m = cModule(b, target, .debug, tsan);
        m.addCSourceFile(.{ .file = b.path(file), .flags = commonFlags(b, true) });
        m.addIncludePath(b.path("cuda"));
        if (tool == null) m.linkLibrary(objects);
        const program = b.addExecutable(.{ .name = name, .root_module = m });
        if (tool) |t| {
            t.dependOn(&b.addInstallArtifact(program, .{}).step);
        } else {
            const run = b.addRunArtifact(program);
            run.has_side_effects = true; // run it each time: threads and clocks are inputs too
            unit.dependOn(&run.step);
        }
    }
}

fn sources(b: *std.Build, target: std.Build.ResolvedTarget, testing: bool) []const Source {
    const gpa = b.allocator;
    var list: std.ArrayList(Source) = .empty;
    const common = commonFlags(b, testing);
    for ([_][]const u8{ "csrc", "csrc/ref", "csrc/cpu" }) |dir| {
        for (cFiles(b, dir)) |file| list.append(gpa, .{ .file = file, .flags = common }) catch @panic("OOM");
    }
    const isas: []const Isa = switch (target.result.cpu.arch) {
        .x86_64 => &x86,
        .aarch64 => &arm,
        else => &.{.{ .name = "base" }},
    };
    for (cFiles(b, "csrc/cpu/isa")) |file| {
        for (isas) |isa| list.append(gpa, .{ .file = file, .flags = isaFlags(b, testing, isa) }) catch @panic("OOM");
    }
    return list.items;
}

fn isaFlags(b: *std.Build, testing: bool, isa: Isa) []const []const u8 {
    const gpa = b.allocator;
    var list: std.ArrayList([]const u8) = .empty;
    list.appendSlice(gpa, commonFlags(b, testing)) catch @panic("OOM");
    list.append(gpa, b.fmt("-DRZ_ISA={s}", .{isa.name})) catch @panic("OOM");
    const upper = std.ascii.allocUpperString(gpa, isa.name) catch @panic("OOM");
    list.append(gpa, b.fmt("-DRZ_ISA_{s}=1", .{upper})) catch @panic("OOM");
    // Unrolled vector code under UBSan takes minutes a file to compile. What kernels can get wrong, an access past the
    // end, is AddressSanitizer's to find (npm run fuzz).
    if (testing) list.appendSlice(gpa, &.{ "-O2", "-fno-sanitize=undefined" }) catch @panic("OOM");
    for (isa.features) |feature| {
        // zig passes its own list of features to clang, so -mavx2 would have no effect.
        list.appendSlice(gpa, &.{ "-Xclang", "-target-feature", "-Xclang", b.fmt("+{s}", .{feature}) }) catch
            @panic("OOM");
    }
    return list.items;
}

fn commonFlags(b: *std.Build, testing: bool) []const []const u8 {
    const more: []const []const u8 = if (testing) &.{"-DRZ_TEST=1"} else &.{};
    return std.mem.concat(b.allocator, []const u8, &.{ &flags, more }) catch @panic("OOM");
}

/// The .c files of a folder, as sorted paths from the root of the project. A folder that is not there has none.
fn cFiles(b: *std.Build, dir: []const u8) []const []const u8 {
    return filesOf(b, dir, ".c");
}

fn filesOf(b: *std.Build, dir: []const u8, ending: []const u8) []const []const u8 {
    const io = b.graph.io;
    var list: std.ArrayList([]const u8) = .empty;
    var handle = b.root.openDir(io, dir, .{ .iterate = true }) catch return list.items;
    defer handle.close(io);
    b.dependOnDirectoryContents(b.path(dir)); // a new or deleted file configures anew
    var it = handle.iterate();
    while (it.next(io) catch @panic("cannot list a source folder")) |entry| {
        if (entry.kind != .file or !std.mem.endsWith(u8, entry.name, ending)) continue;
        list.append(b.allocator, b.fmt("{s}/{s}", .{ dir, entry.name })) catch @panic("OOM");
    }
    std.mem.sort([]const u8, list.items, {}, struct {
        fn lessThan(_: void, x: []const u8, y: []const u8) bool {
            return std.mem.order(u8, x, y) == .lt;
        }
    }.lessThan);
    return list.items;
}

fn sourcesJson(b: *std.Build, list: []const Source) []const u8 {
    return std.fmt.allocPrint(b.allocator, "{f}\n", .{std.json.fmt(list, .{ .whitespace = .indent_1 })}) catch
        @panic("OOM");
}
