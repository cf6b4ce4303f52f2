// swift-tools-version: 6.2
import PackageDescription

// Where erl_nif.h is. build.sh asks the `erl` on the path; without it, Debian's place.
let erlangInclude = Context.environment["ERL_INCLUDE_DIR"] ?? "/usr/lib/erlang/usr/include"

// Release builds are Embedded Swift: the library then needs nothing but libc. Debug builds are ordinary Swift, so
// that `swift test` and the sanitizers work.
// Not .enableExperimentalFeature: its condition is ignored when tests are linked, which then do not find the runtime.
let embedded = ["-enable-experimental-feature", "Embedded"]
let settings: [SwiftSetting] = [
  .unsafeFlags(embedded, .when(configuration: .release)),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  // The checks of exclusive access are for classes and globals; ours are atomics, or set once at load.
  .unsafeFlags(
    // And each function in a section of its own, so that the linker can leave out what nobody calls.
    [
      "-enforce-exclusivity=unchecked", "-Xfrontend", "-disable-stack-protector", "-Xfrontend", "-function-sections",
    ], .when(configuration: .release)),
]
let erlangHeaders: SwiftSetting = .unsafeFlags(["-Xcc", "-I\(erlangInclude)"])

let package = Package(
  name: "emmap",
  products: [.library(name: "emmap", type: .dynamic, targets: ["EmmapNif"])],
  targets: [
    .systemLibrary(name: "CErlNif"),
    .systemLibrary(name: "CSystem"),
    .target(name: "MemoryMap", dependencies: ["CSystem"], swiftSettings: settings),
    .target(name: "Structures", dependencies: ["MemoryMap", "CSystem"], swiftSettings: settings),
    .target(name: "ErlNif", dependencies: ["CErlNif"], swiftSettings: settings + [erlangHeaders]),
    .target(
      name: "EmmapNif", dependencies: ["MemoryMap", "Structures", "ErlNif", "CSystem"],
      exclude: ["exports.map"], swiftSettings: settings + [erlangHeaders],
      linkerSettings: [
        .unsafeFlags([
          "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/EmmapNif/exports.map",
          "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "-z", "-Xlinker", "nodelete",
          // lld forgets what nobody calls: GNU's linker would still ask for the newest libc that any of it names.
          "-use-ld=lld", "-Xlinker", "--gc-sections", "-Xlinker", "--strip-all",
          // Else the linker takes the path that it writes to.
          "-Xlinker", "-soname=emmap.so",
        ]),
        .unsafeFlags(embedded, .when(configuration: .release)),
      ]),
    .testTarget(name: "MemoryMapTests", dependencies: ["MemoryMap", "CSystem"], swiftSettings: settings),
    .testTarget(
      name: "StructuresTests", dependencies: ["Structures", "MemoryMap", "CSystem"], swiftSettings: settings),
  ]
)
