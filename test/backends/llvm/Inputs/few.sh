# few.sh MODEL FOLDER: runs MODEL with every format, in process and as a
# library for an old CPU, on FOLDER/in/x.npz; results in FOLDER.
set -e
for pack in panels bitmask gather columns; do
  sed "s/PACK/$pack/; s/ROWS/2/" "$1" > "$2/$pack.prn"
  prune-run "$2/$pack.prn" --inputs "$2/in/x.npz" --outputs "$2/$pack.npz"
  prunec "$2/$pack.prn" -o "$2/$pack.so" --march=x86-64-v2
  prune-run "$2/$pack.so" --inputs "$2/in/x.npz" --outputs "$2/$pack-2.npz"
done
