#!/usr/bin/env bash
# The main job on real data: 875 infant gut samples (tests/data/ecam), 126 of them labelled with the infant's age.
# Set up, pretrain, fit, predict, compare with a random forest; every artifact is written to demo-output/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bash "$root/recipe/setup.sh"

data="$root/tests/data/ecam"
out="$root/demo-output"
rm -rf "$out"
mkdir "$out"
steps="$out/steps.tsv"

# step NAME ARGUMENTS OF QIIME...
step() {
    say '' "== $1"
    "$python" "$root/recipe/measure.py" "$steps" "$1" -- "$qiime" "${@:2}"
}

# 1. The distances between samples that the encoder will learn to predict, from QIIME 2's own plugins.
step 'rarefy' feature-table rarefy \
    --i-table "$data/table.qza" \
    --p-sampling-depth 1000 \
    --o-rarefied-table "$out/rarefied.qza"
step 'unweighted UniFrac' diversity-lib unweighted-unifrac \
    --i-table "$out/rarefied.qza" \
    --i-phylogeny "$data/rooted-tree.qza" \
    --o-distance-matrix "$out/unweighted-unifrac.qza"

# 2. Pretrain without labels, on the rarefied table that the distances were computed from; 0.1143 of 875 samples are the
#    100 that are held out.
step 'aam pretrain' aam pretrain \
    --i-table "$out/rarefied.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-distance-matrix "$out/unweighted-unifrac.qza" \
    --p-validation-fraction 0.1143 \
    --p-random-seed 1 \
    --o-encoder "$out/encoder.qza" \
    --o-history "$out/pretrain-history.qza" \
    --verbose

# 3. Learn the age from the 126 labelled samples; no infant is in two splits.
step 'aam fit-regressor' aam fit-regressor \
    --i-table "$data/table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-encoder "$out/encoder.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --m-metadata-column month_of_life \
    --m-groups-file "$data/metadata.tsv" \
    --m-groups-column subject \
    --p-random-seed 1 \
    --o-regressor "$out/regressor.qza" \
    --o-predictions "$out/predictions.qza" \
    --o-details "$out/details.qza" \
    --o-history "$out/fit-history.qza" \
    --verbose

# 4. Predict the 749 samples without a label.
step 'filter to unlabelled' feature-table filter-samples \
    --i-table "$data/table.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --p-exclude-ids \
    --o-filtered-table "$out/unlabelled-table.qza"
step 'aam predict' aam predict \
    --i-table "$out/unlabelled-table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-regressor "$out/regressor.qza" \
    --o-predictions "$out/unlabelled-predictions.qza" \
    --o-details "$out/unlabelled-details.qza" \
    --verbose

# 5. A random forest on the same samples. It has no epoch to choose on the validation split, so it learns from training
#    and validation samples together. The test split is the same.
step 'filter to training' feature-table filter-samples \
    --i-table "$data/table.qza" \
    --m-metadata-file "$out/details.qza" \
    --p-where "[part] IN ('training', 'validation')" \
    --o-filtered-table "$out/training-table.qza"
step 'filter to test' feature-table filter-samples \
    --i-table "$data/table.qza" \
    --m-metadata-file "$out/details.qza" \
    --p-where "[part] = 'test'" \
    --o-filtered-table "$out/test-table.qza"
step 'forest fit' sample-classifier fit-regressor \
    --i-table "$out/training-table.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --m-metadata-column month_of_life \
    --p-random-state 1 \
    --o-sample-estimator "$out/forest.qza" \
    --o-feature-importance "$out/forest-importance.qza"
step 'forest predict' sample-classifier predict-regression \
    --i-table "$out/test-table.qza" \
    --i-sample-estimator "$out/forest.qza" \
    --o-predictions "$out/forest-predictions.qza"

# 6. q2-sample-classifier's scatterplot of our predictions.
step 'scatterplot' sample-classifier scatterplot \
    --i-predictions "$out/predictions.qza" \
    --m-truth-file "$data/metadata.tsv" \
    --m-truth-column month_of_life \
    --o-visualization "$out/predictions.qzv"

say ''
"$python" "$root/recipe/demo_report.py" "$out"
